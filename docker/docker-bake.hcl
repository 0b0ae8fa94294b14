# docker buildx bake [train|eval|cpu]      REPOSITORY=... VERSION=... docker buildx bake --push

variable "REPOSITORY" { default = "deepscaler" }
variable "VERSION" { default = "dev" }
variable "REVISION" { default = "unknown" }
variable "SOURCE" { default = "" }
variable "PIP_EXTRA_INDEX_URL" { default = "" } # an index with torch's CPU build, for cpu
variable "ATTEST" { default = true } # false where an engine cannot keep SBOM and provenance (docker's own image store)

group "default" { targets = ["train", "eval", "cpu"] }

target "image" {
  dockerfile = "docker/Dockerfile"
  args       = { PIP_EXTRA_INDEX_URL = PIP_EXTRA_INDEX_URL }
  attest     = ATTEST ? ["type=sbom", "type=provenance,mode=max"] : []
  platforms  = ["linux/amd64"]
  labels = {
    "org.opencontainers.image.title"    = "DeepScaleR cluster kit"
    "org.opencontainers.image.source"   = SOURCE
    "org.opencontainers.image.revision" = REVISION
    "org.opencontainers.image.version"  = VERSION
    "org.opencontainers.image.licenses" = "Apache-2.0"
  }
}

target "train" {
  inherits = ["image"]
  target   = "train"
  tags     = ["${REPOSITORY}:${VERSION}-train"]
}

target "eval" {
  inherits = ["image"]
  target   = "eval"
  tags     = ["${REPOSITORY}:${VERSION}-eval"]
}

target "cpu" {
  inherits = ["image"]
  target   = "cpu"
  tags     = ["${REPOSITORY}:${VERSION}-cpu"]
}
