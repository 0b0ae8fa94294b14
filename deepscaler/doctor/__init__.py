"""What is missing on this machine, or in this image, before hours are lost to it.

ok    python     3.11.2
FAIL  packages   transformers 5.10.4 is installed, 5.9.0 locked: install docker/requirements/eval.txt again
"""
