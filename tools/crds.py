"""Makes deepscaler/kubernetes/check/crds.json.gz from CRD files: `python tools/crds.py FOLDER` (see CONTRIBUTING.md).

FOLDER holds the CRDs as their projects publish them, one in a file: KubeRay's helm-chart/kuberay-operator/crds, Kueue's
config/components/crd/bases, the PodMonitor of the Prometheus Operator's example/prometheus-operator-crd, and Queue and
PodGroup of KAI's deployments/kai-scheduler/crds and Volcano's config/crd/volcano/bases. Every such kind that k8s/ uses
has to be there: `deepscaler k8s check k8s` names one that is not. Descriptions are left out, nine tenths of them.
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import yaml

TARGET = Path(__file__).resolve().parent.parent / "deepscaler/kubernetes/check/crds.json.gz"


def main() -> None:
    """Writes the file."""
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python tools/crds.py FOLDER  (with CRDs as .yaml files)")
    TARGET.write_bytes(packed(Path(sys.argv[1])))
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


def packed(folder: Path) -> bytes:
    """Returns the schemas by `group/version/kind`; the same input gives the same bytes."""
    schemas = {}
    for path in sorted(folder.glob("*.yaml")):
        definition = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)["spec"]
        for version in definition["versions"]:
            name = f"{definition['group']}/{version['name']}/{definition['names']['kind']}"
            # a version that is not served cannot be applied
            if version["served"]:
                schemas[name] = {
                    "scope": definition["scope"],
                    "schema": without_descriptions(version["schema"]["openAPIV3Schema"]),
                }
    text = json.dumps(schemas, separators=(",", ":"), sort_keys=True)
    # gzip would write the time of day into the file.
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def without_descriptions(schema: Any, *, names: bool = False) -> Any:
    """Returns a schema without texts. With `names` the keys are names of properties, and `description` may be one."""
    if isinstance(schema, list):
        return [without_descriptions(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        # A property may itself be called `properties`.
        key: without_descriptions(value, names=key == "properties" and not names)
        for key, value in schema.items()
        if names or key != "description" or not isinstance(value, str)
    }


if __name__ == "__main__":
    main()
