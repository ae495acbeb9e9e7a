"""What holds for all tests."""

from hypothesis import settings

pytest_plugins = ["skips"]

# Examples are not timed: a busy machine would fail them.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
