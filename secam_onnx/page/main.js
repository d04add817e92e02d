/** Starts the page: connects the source of explanations with the view. */

import { Engine } from "./engine.js";
import { View } from "./view.js";

new View(new Engine("model.onnx"));
