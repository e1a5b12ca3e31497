"""ModelPress: compression, evaluation and serving of TensorFlow models on Kubernetes."""

import os

# Keras reads it when it is imported. Whatever the shell or a pod has set for other programs, models here are
# TensorFlow's.
os.environ["KERAS_BACKEND"] = "tensorflow"
