"""Knowledge-distillation methods: one file, one method.

The public names stand in ``__init__.pyi``. Each is loaded when first used, so that what needs no
network, such as a leaderboard, does without PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
