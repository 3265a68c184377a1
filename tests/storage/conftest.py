"""Property tests here touch disks and codecs, whose time says nothing about correctness."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
