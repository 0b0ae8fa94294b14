"""Mirrors a run in a bucket: checkpoints, metrics and rollouts, uploaded beside the training, read from anywhere.

s3://bucket/8k/mirror.json                                          which run this is
s3://bucket/8k/attempts/0003/claim-40-9f3c2a1b                      attempt 3, resumed at step 40, owns the mirror
s3://bucket/8k/attempts/0003/files/rollouts/41.jsonl-5d41402a       small files, each by its content
s3://bucket/8k/attempts/0003/files.json                             which of them count, with sizes and hashes
s3://bucket/8k/attempts/0003/checkpoints/global_step_60/...         a checkpoint as on disk
s3://bucket/8k/attempts/0003/checkpoints/global_step_60/manifest.json   written last: sizes and hashes of all its files

An attempt writes below its own number only, so that a zombie can overwrite nothing of a newer one. What an earlier
attempt uploads beyond the step at which a later one resumed does not count, whenever it comes.
"""
