// node open_page.mjs ADDRESS PHOTO ANSWER: opens a page in Chromium, gives it a photograph, and writes to ANSWER, as
// JSON, the text that appears and the canvas's pixels.

import { writeFile } from "node:fs/promises";
import { chromium } from "playwright-core";

const [address, photo, answer] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM });
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(120_000);
  page.on("pageerror", (error) => console.error(String(error)));
  await page.goto(address);
  await page.waitForFunction(() => document.querySelector("input").onchange);
  await page.setInputFiles("input", photo);
  await page.waitForFunction(() => document.querySelector("pre").textContent);
  const found = await page.evaluate(() => {
    const canvas = document.querySelector("canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return { text: document.querySelector("pre").textContent, pixels: [...data] };
  });
  await writeFile(answer, JSON.stringify(found));
} finally {
  await browser.close();
}
