"""The label sets of well-known datasets, whose files do not always say them."""

from __future__ import annotations

from ..samples import Label, LabelSet
from .labels import voc_color

# The 11 classes of SegNet's CamVid and their colours in the original; 11 is void.
CAMVID = LabelSet(
    (
        Label(0, "Sky", (128, 128, 128)),
        Label(1, "Building", (128, 0, 0)),
        Label(2, "Pole", (192, 192, 128)),
        Label(3, "Road", (128, 64, 128)),
        Label(4, "Pavement", (60, 40, 222)),
        Label(5, "Tree", (128, 128, 0)),
        Label(6, "SignSymbol", (192, 128, 128)),
        Label(7, "Fence", (64, 64, 128)),
        Label(8, "Car", (64, 0, 128)),
        Label(9, "Pedestrian", (64, 64, 0)),
        Label(10, "Bicyclist", (0, 128, 192)),
        Label(11, "Void", (0, 0, 0)),
    ),
    ignore_id=11,
)

_VOC_NAMES = [
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]

VOC = LabelSet(tuple(Label(i, name, voc_color(i)) for i, name in enumerate(_VOC_NAMES)), ignore_id=255, background_id=0)

# Cityscapes' labelIds (cityscapesScripts, helpers/labels.py), in the order of their numbers 0..33.
_CITYSCAPES = (
    ("unlabeled", (0, 0, 0)),
    ("ego vehicle", (0, 0, 0)),
    ("rectification border", (0, 0, 0)),
    ("out of roi", (0, 0, 0)),
    ("static", (0, 0, 0)),
    ("dynamic", (111, 74, 0)),
    ("ground", (81, 0, 81)),
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("parking", (250, 170, 160)),
    ("rail track", (230, 150, 140)),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("guard rail", (180, 165, 180)),
    ("bridge", (150, 100, 100)),
    ("tunnel", (150, 120, 90)),
    ("pole", (153, 153, 153)),
    ("polegroup", (153, 153, 153)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("caravan", (0, 0, 90)),
    ("trailer", (0, 0, 110)),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
)

CITYSCAPES = LabelSet(tuple(Label(i, name, color) for i, (name, color) in enumerate(_CITYSCAPES)), ignore_id=0)

#: Of these, those whose objects are told apart.
CITYSCAPES_THINGS = frozenset(name for name, _ in _CITYSCAPES[24:])
#: What Cityscapes' labelling tool knows and draws into no mask.
CITYSCAPES_NOT_DRAWN = frozenset({"license plate"})

#: What Cityscapes' benchmark and most models of it count: the train ids 0..18; 255 is ignored.
_TRAINED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITYSCAPES_TRAIN = LabelSet(tuple(Label(i, *_CITYSCAPES[k]) for i, k in enumerate(_TRAINED)), ignore_id=255)

# The 32 classes of the original CamVid, which are told by their colours; the ids are their places in its list.
_CAMVID_32 = (
    ("Animal", (64, 128, 64)),
    ("Archway", (192, 0, 128)),
    ("Bicyclist", (0, 128, 192)),
    ("Bridge", (0, 128, 64)),
    ("Building", (128, 0, 0)),
    ("Car", (64, 0, 128)),
    ("CartLuggagePram", (64, 0, 192)),
    ("Child", (192, 128, 64)),
    ("Column_Pole", (192, 192, 128)),
    ("Fence", (64, 64, 128)),
    ("LaneMkgsDriv", (128, 0, 192)),
    ("LaneMkgsNonDriv", (192, 0, 64)),
    ("Misc_Text", (128, 128, 64)),
    ("MotorcycleScooter", (192, 0, 192)),
    ("OtherMoving", (128, 64, 64)),
    ("ParkingBlock", (64, 192, 128)),
    ("Pedestrian", (64, 64, 0)),
    ("Road", (128, 64, 128)),
    ("RoadShoulder", (128, 128, 192)),
    ("Sidewalk", (0, 0, 192)),
    ("SignSymbol", (192, 128, 128)),
    ("Sky", (128, 128, 128)),
    ("SUVPickupTruck", (64, 128, 192)),
    ("TrafficCone", (0, 0, 64)),
    ("TrafficLight", (0, 64, 64)),
    ("Train", (192, 64, 128)),
    ("Tree", (128, 128, 0)),
    ("Truck_Bus", (192, 128, 192)),
    ("Tunnel", (64, 0, 64)),
    ("VegetationMisc", (192, 192, 0)),
    ("Void", (0, 0, 0)),
    ("Wall", (64, 192, 0)),
)

CAMVID_32 = LabelSet(tuple(Label(i, name, color) for i, (name, color) in enumerate(_CAMVID_32)), ignore_id=30)
