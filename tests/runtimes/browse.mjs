// node browse.mjs MODEL FOLDER: as run.mjs, in onnxruntime-web's wasm build in a headless Chromium, whose program the
// variable CHROMIUM names. All that the page loads comes from this process, over 127.0.0.1.

import { createReadStream, createWriteStream } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { basename, dirname, extname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const [model, folder] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const FOLDERS = { "/ort": join(here, "node_modules/onnxruntime-web/dist"), "/job": folder, "/code": here };
const TYPES = { ".mjs": "text/javascript", ".wasm": "application/wasm", ".html": "text/html" };

const server = createServer(async (request, response) => {
  const path = request.url.split("?")[0];
  const file = path === "/model" ? model : join(FOLDERS[dirname(path)] ?? here, basename(path));
  try {
    if (request.method === "PUT") {
      await pipeline(request, createWriteStream(file));
      response.end();
    } else if (path === "/") {
      response.setHeader("Content-Type", TYPES[".html"]).end("<!doctype html>");
    } else {
      response.setHeader("Content-Type", TYPES[extname(file)] ?? "application/octet-stream");
      await pipeline(createReadStream(file), response);
    }
  } catch (error) {
    response.writeHead(404).end(String(error));
  }
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM });
try {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const job = JSON.parse(await readFile(join(folder, "job.json"), "utf8"));
  const found = await page.evaluate(async (job) => {
    const ort = await import("/ort/ort.wasm.min.mjs");
    const { answer } = await import("/code/job.mjs");
    const read = async (name) => (await fetch(`/job/${name}`)).arrayBuffer();
    const write = (name, body) => fetch(`/job/${name}`, { method: "PUT", body });
    return answer(ort, "/model", job, read, write);
  }, job);
  await writeFile(join(folder, "answer.json"), JSON.stringify({ ...found, browser: browser.version() }));
} finally {
  await browser.close();
  server.close();
}
