"""The predictor as an auto-annotation function of CVAT, for cvat-cli and its agents.

    cvat-cli task auto-annotate 137 --function-module maskloop_backend.cvat
    cvat-cli task auto-annotate 137 --function-module maskloop_backend.cvat \\
        -p home=str:/srv/maskloop -p version=str:fcn8s-... -p labels=str:person=pedestrian,car=vehicle -p polygons=str:car \\
        --conf-threshold 0.6 --allow-unmatched-labels

cvat-cli asks CVAT for the images, :class:`.function.Function` answers with masks, and cvat-cli stores them.
"""

from .function import Function, create

__all__ = ["Function", "create"]
