"""What a request means: its limits, parameters and images, and the tensors and pictures that answer it.

Nothing here imports KServe's SDK, gRPC or a web framework, so that Triton's model and the command line use it as the
server does. Requests that are refused raise OptionError, ClassError or ImageError.
"""
