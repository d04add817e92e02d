/** Joins the two halves of the page: where results come from, and how they are shown. */

import { Engine } from "./engine.js";
import { View } from "./view.js";

new View(new Engine("model.onnx"));
