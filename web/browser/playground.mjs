// Opens the playground in a browser that can reach nothing but this machine, reads
// the schema, takes a spool and is refused the second time, and follows the floor
// while spools are taken.
//
//   node playground.mjs http://127.0.0.1:8080 [screenshot.png]
import { chromium } from "playwright-core";

const [url, screenshot] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
  ],
});
const page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
const complaints = [];
page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("request", (request) => {
  if (!request.url().startsWith(url) && !request.url().startsWith("data:") && !request.url().startsWith("blob:")) {
    complaints.push(`asks ${request.url()}`);
  }
});

const result = page.locator(".result-window");
const execute = async (expected) => {
  await page.locator(".graphiql-execute-button").click();
  await result.filter({ hasText: expected }).waitFor();
  console.log(`sees ${expected}`);
};

await page.goto(`${url}/playground`);
await page.getByRole("button", { name: /Documentation Explorer/ }).first().click();
await page.locator(".graphiql-doc-explorer").filter({ hasText: "TomarSpoolInput" }).waitFor();
console.log("sees the schema");
await execute('"lockToken"');
await execute('"SPOOL_OCCUPIED"');

// What is shown of a subscription is its last message, and may have been replaced
// before it was looked at.
const repeat = async (expected, action) => {
  const seen = result.filter({ hasText: expected });
  for (let attempt = 0; attempt < 30; attempt++) {
    await action(attempt);
    try {
      return await seen.waitFor({ timeout: 2000 });
    } catch {}
  }
  throw new Error(`${expected} is not seen`);
};
await page.getByRole("tab", { name: "Floor", exact: true }).click();
// GraphiQL learns a moment after a tab is shown which operation is in it.
await repeat('"floorUpdates"', () => page.locator(".graphiql-execute-button").click());
await repeat("MK-LIVE", async (n) => {
  const take = `mutation { tomarSpool(input: { tagSpool: "MK-LIVE-${n}", workerId: "94", workerNombre: "JP(94)" }) { replayed } }`;
  const response = await fetch(`${url}/graphql`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ query: take }),
  });
  if ((await response.json()).errors) {
    throw new Error("a take failed");
  }
});
console.log("sees the take of another");
console.log(`${await page.locator(".graphiql-tab").count()} tabs`);
if (screenshot) {
  await page.screenshot({ path: screenshot });
}
await browser.close();
for (const complaint of complaints) {
  console.log(`complaint: ${complaint}`);
}
process.exit(complaints.length === 0 ? 0 : 1);
