/** Starts the page with explanations from the server that it came from. */

import { View } from "../view.js";
import { askForKey } from "./key.js";
import { Remote } from "./remote.js";
import { Server } from "./server.js";

new View(new Remote(new Server(document.baseURI, askForKey)));
