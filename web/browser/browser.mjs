// What the tests of the playground have in common: a browser that can reach nothing but
// this machine.
import { chromium } from "playwright-core";

// Opens the playground, and returns the page, and what is wrong: what it complains of,
// besides what is expected, and what it asks of others.
export async function open(url, expected = /$^/) {
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
  const complain = (text) => expected.test(text) || complaints.push(text);
  page.on("console", (message) => message.type() === "error" && complain(message.text()));
  page.on("pageerror", (error) => complain(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:") && !request.url().startsWith("blob:")) {
      complain(`asks ${request.url()}`);
    }
  });
  await page.goto(`${url}/healthz`);
  await page.evaluate(() => localStorage.setItem("graphiql:earlier", "what an earlier version of the page kept"));
  await page.goto(`${url}/playground`);
  return { page, complaints };
}

// What a person does with the page of the service at the URL, which knows them by the
// headers.
export function person(page, url, headers = {}) {
  const result = page.locator(".result-window");
  const see = (expected) => result.filter({ hasText: expected }).waitFor();
  const run = () => page.locator(".graphiql-execute-button").click();

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

  return {
    see,
    async execute(expected) {
      await run();
      await see(expected);
    },
    seeSchema: () => page.locator(".graphiql-doc-explorer").filter({ hasText: "TomarSpoolInput" }).waitFor(),
    openDocumentation: () => page.getByRole("button", { name: /Documentation Explorer/ }).first().click(),

    // Follows the floor until it has seen what another takes.
    async follow() {
      await page.getByRole("tab", { name: "Floor", exact: true }).click();
      // GraphiQL learns a moment after a tab is shown which operation is in it.
      await repeat('"floorUpdates"', run);
      await repeat("MK-LIVE", async (n) => {
        const take = `mutation { tomarSpool(input: { tagSpool: "MK-LIVE-${n}", workerId: "94", workerNombre: "JP(94)" }) { replayed } }`;
        const response = await fetch(`${url}/graphql`, {
          method: "POST",
          headers: { "Content-Type": "application/json", ...headers },
          body: JSON.stringify({ query: take }),
        });
        if ((await response.json()).errors) {
          throw new Error("a take failed");
        }
      });
    },
  };
}

// Fails if the browser keeps anything of the page when it is opened again.
export async function seeNothingKept(page) {
  await page.reload();
  await page.locator(".graphiql-tab").first().waitFor();
  const kept = await page.evaluate(async () => [
    ...Object.entries(localStorage),
    ...Object.entries(sessionStorage),
    ...(await indexedDB.databases()).map(({ name }) => name),
    ...(await caches.keys()),
    document.cookie,
  ].flat().join("").slice(0, 500));
  if (kept) {
    throw new Error(`the browser keeps ${kept}`);
  }
  console.log("sees nothing that was kept");
}

// Ends the program, with what is wrong.
export async function end(page, complaints) {
  await page.context().browser().close();
  for (const complaint of complaints) {
    console.log(`complaint: ${complaint}`);
  }
  process.exit(complaints.length === 0 ? 0 : 1);
}
