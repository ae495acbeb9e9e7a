"""What runs a network: images in, label map and confidence out.

The choice of the class and its probability are made where the logits are, so that two bytes a pixel leave the device
instead of four a class. Nothing here knows files, tiles or threads of the server.

    protocol.py           what a predictor needs of a runtime
    deciding.py           logits -> label map and confidence, at the logits' size or a larger one; what all compile
    keras_runtime.py      compiled by Keras' backend
    openvino_runtime.py   compiled by OpenVINO (extra ``openvino``)
    choosing.py           which of them, by measurement
"""
