// Opens pages in Chromium and does what it is told, a line of JSON each: {page, origin} opens one, {page, call, argument}
// calls a function of page.js. Answers with a line each: {value} or {error}. Ends with its input. Arguments: the port that
// the pages are served from, the name and the address of the server, and its certificate.

import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";

const STEP_MS = 30_000;

const [port, host, address, certificate] = process.argv.slice(2);

const script = await build({
  entryPoints: [fileURLToPath(new URL("page.js", import.meta.url))],
  bundle: true,
  write: false,
  format: "iife",
  define: { global: "window" },
});
const server = createServer((request, response) => {
  if (request.url === "/page.js") {
    response.setHeader("Content-Type", "text/javascript; charset=utf-8");
    return response.end(script.outputFiles[0].text);
  }
  response.setHeader("Content-Type", "text/html; charset=utf-8");
  response.end('<!doctype html><title>phone</title><link rel="icon" href="data:,"><script src="page.js"></script>');
});
await new Promise((resolve) => server.listen(Number(port), "127.0.0.1", resolve));

// Of all certificates that no root vouches for, this one alone is taken.
const key = new X509Certificate(readFileSync(certificate)).publicKey.export({ type: "spki", format: "der" });
const pin = createHash("sha256").update(key).digest("base64");
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    `--ignore-certificate-errors-spki-list=${pin}`,
    `--host-resolver-rules=MAP ${host} ${address}, MAP localhost 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1`,
  ],
});
const pages = new Map();

async function open(name, origin) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.on("console", (message) => console.error(`${name}: ${message.text()}`));
  page.on("pageerror", (error) => console.error(`${name}: ${error.stack}`));
  page.on("crash", () => console.error(`${name}: the page crashed`));
  await page.goto(origin, { timeout: STEP_MS });
  pages.set(name, page);
}

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${STEP_MS} ms`)), STEP_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function obey({ page, origin, call, argument }) {
  if (origin) return open(page, origin);
  const work = pages.get(page).evaluate(([call, argument]) => window.phone[call](argument), [call, argument]);
  return within(work, `${call} of ${page}`);
}

console.error(`Chromium ${browser.version()}`);
for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { value: (await obey(JSON.parse(line))) ?? null };
  } catch (error) {
    answer = { error: String(error.message) };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
process.exit(0);
