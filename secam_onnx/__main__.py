"""`python -m secam_onnx`."""

from secam_onnx.cli import main

if __name__ == "__main__":
    main()
