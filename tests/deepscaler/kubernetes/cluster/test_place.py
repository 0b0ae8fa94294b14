from dataclasses import fields
from pathlib import Path

import pytest

from deepscaler.kubernetes.cluster.place import Place, load_place
from deepscaler.system.errors import UserError
from tests.places import ROOT

SITES = sorted((ROOT / "k8s/sites").glob("*.toml"))


@pytest.mark.parametrize("file", SITES, ids=lambda path: path.stem)
def test_every_committed_site_loads(file: Path) -> None:
    load_place(file)


def test_the_example_tells_every_option_and_its_default() -> None:
    example = ROOT / "k8s/sites/example.toml"
    assert load_place(example) == Place(context="research", image="registry.example.com/deepscaler")
    text = example.read_text()
    missing = [one.name for one in fields(Place) if f"\n{one.name} = " not in text and f"[{one.name}]" not in text]
    assert missing == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('namespace = "x"', "context is missing: `kubectl config get-contexts` lists yours"),
        ('contxt = "x"', "did you mean 'context'"),
        ('context = "x"\nnamespace = "My_Space"', "for namespace: expected lower case letters, digits and hyphens"),
        ('context = "x"\nnamespace = ""', "invalid value '' for namespace"),
        ('context = "x"\ndata_claim = "a b"', "invalid value 'a b' for data_claim"),
        ('context = "x"\nworker_cpu = "many"', "expected a number of processors such as 64"),
        ('context = "x"\ncpu_image_memory = "6GB"', "for cpu_image_memory: expected a quantity such as 512Gi"),
        ('context = "x"\nshared_memory = "500m"', "for shared_memory: expected a quantity such as 512Gi"),
        ('context = "x"\nshared_memory = "128GB"', "for shared_memory: expected a quantity such as 512Gi"),
        (
            'context = "x"\nworker_memory = "64Gi"',
            "shared_memory 128Gi leaves a worker nothing of its worker_memory 64Gi",
        ),
        ('context = "x"\nimage = ""', "invalid value '' for image: expected a repository"),
        ('context = "x"\nimage = "a\\n  privileged: true"', "for image: expected a repository"),
        ('context = "x"\nimage = "https://reg/kit"', "for image: expected a repository"),
        ('context = "x"\ntag = ""', "invalid value '' for tag"),
        ('context = "x"\ntag = "{target}{x}"', "for tag: expected letters, digits"),
        ('context = "x"\nnode_labels = {"a b" = "c"}', "in node_labels: expected a label of nodes"),
        ('context = "x"\nnode_labels = {"a/b" = "c\\nd: e"}', "in node_labels: expected a label of nodes"),
        ('context = "x"\ncomponents = ["rdma"]\ninterface = "eth0; rm"', "for interface: expected names"),
        ('context = "x"\ncomponents = ["rdma"]\nfabric_resource = "a b"', "for fabric_resource: expected a resource"),
        ('context = "x"\nstorage_class = "a b"', "for storage_class: expected lower case letters"),
        ('context = "x"\nqueue = "a"', "queue a counts only with one of the components kueue, volcano, kai"),
        ('context = "x"\ntopology = "rack"', "topology rack counts only with one of the components topology"),
        ('context = "x"\nfabric_count = 4', "fabric_count 4 counts only with one of the components rdma, efa"),
        ('context = "x"\ntolerations = ["a b"]', "in tolerations: expected KEY=VALUE:EFFECT"),
        ('context = "x"\ncomponents = ["kueu"]', "unknown component 'kueu' (did you mean 'kueue'?); valid: a100, "),
        ('context = "x"\ncomponents = ["image"]', "a place says that by its options image and tag"),
        ('context = "x"\ncomponents = ["kueue", "kueue"]', "component kueue is named twice"),
        ('context = "x"\nstorage = "ceph"', "unknown storage 'ceph'; valid: claims, gcs-fuse, nfs, or a folder"),
        ("context = 'x", "cannot be read"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_what_is_allowed(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"cluster\.toml") as raised:
        load_place(file)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_folders_of_ones_own_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("proxy", "ours"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kustomization.yaml").touch()
    (tmp_path / "cluster.toml").write_text('context = "x"\ncomponents = ["proxy", "spot"]\nstorage = "./ours"')
    monkeypatch.chdir("/")
    place = load_place(tmp_path / "cluster.toml")
    assert place.components == (str(tmp_path / "proxy"), "spot")
    assert place.storage == str(tmp_path / "ours")
