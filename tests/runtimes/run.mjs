// node run.mjs MODEL FOLDER: runs the job in FOLDER/job.json in onnxruntime-node; the answer goes to FOLDER/answer.json.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import ort from "onnxruntime-node";
import { answer } from "./job.mjs";

const [model, folder] = process.argv.slice(2);
const read = async (name) => new Uint8Array(await readFile(join(folder, name))).buffer;
const write = (name, bytes) => writeFile(join(folder, name), bytes);
const job = JSON.parse(await readFile(join(folder, "job.json"), "utf8"));
await write("answer.json", JSON.stringify(await answer(ort, model, job, read, write)));
