// Opens a page in Chromium, narrow and wide, light and dark, takes a picture of each, and prints what was found as JSON:
//   node page.mjs URL FOLDER-FOR-PICTURES
// It finds its packages in the current folder. CHROMIUM is the path of the browser.
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");
const axe = require("axe-core");

const [url, folder] = process.argv.slice(2);
const flags = ["no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"];
const others = ["disable-component-update", "disable-sync"];
const views = [360, 1280].flatMap((width) => ["light", "dark"].map((scheme) => ({ width, scheme })));

// Looks at the page as a user has it: with its Content-Security-Policy.
async function look(browser, { width, scheme }, javaScriptEnabled = true) {
  const context = await browser.newContext({ viewport: { width, height: 800 }, colorScheme: scheme, javaScriptEnabled });
  const page = await context.newPage();
  const problems = [];
  const requests = [];
  page.on("console", (message) => problems.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
  page.on("requestfailed", (request) => problems.push(`failed: ${request.url()}`));
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(url, { waitUntil: "networkidle" });
  const picture = join(folder, `page-${width}-${scheme}.png`);
  if (javaScriptEnabled) await page.screenshot({ path: picture, fullPage: true });
  const heading = await page.locator("h1").innerText();
  const text = await page.locator("main").innerText();
  const overflow = javaScriptEnabled
    ? await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
    : 0;
  await context.close();
  return { width, scheme, problems, requests, heading, text, overflow };
}

// axe is a script, which the policy would refuse.
async function faults(browser, { width, scheme }) {
  const context = await browser.newContext({ viewport: { width, height: 800 }, colorScheme: scheme, bypassCSP: true });
  const page = await context.newPage();
  await page.goto(url);
  await page.evaluate(axe.source);
  const { violations, incomplete } = await page.evaluate(() => window.axe.run());
  const roles = await page.getByRole("table").count();
  const rows = await page.getByRole("row").count();
  await context.close();
  const short = (rules) => rules.map((rule) => `${rule.id}: ${rule.nodes.map((node) => node.target).join(" ")}`);
  return { width, scheme, violations: short(violations), incomplete: short(incomplete), roles, rows };
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [...flags, ...others].map((flag) => `--${flag}`),
});
const looks = [];
const audits = [];
for (const view of views) {
  looks.push(await look(browser, view));
  audits.push(await faults(browser, view));
}
const withoutJavaScript = await look(browser, views[0], false);
await browser.close();
console.log(JSON.stringify({ looks, audits, withoutJavaScript }));
