// Drives one Chromium: takes a command a line on stdin, as JSON, and answers each on stdout. Ends, and the browser with it, when
// stdin does.
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const browser = await chromium.launch({
  executablePath: process.argv[2],
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync',
  ],
});
const pages = new Map();
const consoles = new Map(); // what each page has logged
const contexts = new Map();

// Each user has cookies of their own.
function contextOf(user) {
  if (!contexts.has(user)) contexts.set(user, newContext());
  return contexts.get(user);
}

async function newContext() {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, reducedMotion: 'reduce' });
  context.setDefaultTimeout(50_000); // less than the tests' own, so that it is playwright that says what was waited for
  return context;
}

// Reads from a page, again if that goes elsewhere meanwhile.
async function read(from) {
  for (;;) {
    try {
      return await from();
    } catch (err) {
      if (!err.message.includes('context was destroyed')) throw err;
    }
  }
}

const commands = {
  version: async () => browser.version(), // asked for first: it tells that the browser runs
  // Only asks for the page: whether it comes is the test's question.
  open: async ({ page, url, user = '' }) => {
    const tab = await (await contextOf(user)).newPage();
    pages.set(page, tab);
    tab.on('pageerror', (err) => console.error(`${page}: ${err}`));
    consoles.set(page, []);
    tab.on('console', (line) => consoles.get(page).push(line.text()));
    tab.goto(url, { waitUntil: 'commit' }).catch(() => {});
  },
  close: async ({ page }) => pages.get(page).close(),
  size: async ({ page, width, height }) => {
    await pages.get(page).setViewportSize({ width, height });
    // Painted anew: a screenshot right after it had the page's top twice.
    await pages.get(page).evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  },
  reload: async ({ page }) => pages.get(page).reload().then(() => ''),
  eval: async ({ page, expression }) => String(await read(() => pages.get(page).evaluate(expression))),
  fill: async ({ page, selector, text }) => pages.get(page).fill(selector, text),
  click: async ({ page, selector }) => pages.get(page).click(selector),
  wait: async ({ page, selector }) => pages.get(page).waitForSelector(selector).then(() => ''),
  text: async ({ page, selector }) => (await read(() => pages.get(page).locator(selector).allInnerTexts())).join('\n'),
  // As somebody would into the console of a page that has come.
  type: async ({ page, url, script }) => {
    await pages.get(page).waitForURL(url);
    await pages.get(page).evaluate(`${script}\n; undefined`);
  },
  logged: async ({ page }) => consoles.get(page).join('\n'),
  // Whether the whole of an element is in what a visitor sees without scrolling.
  inview: async ({ page, selector }) => pages.get(page).locator(selector).evaluate((element) => {
    const box = element.getBoundingClientRect();
    return String(box.height > 0 && box.top >= 0 && box.bottom <= innerHeight && box.left >= 0 && box.right <= innerWidth);
  }),
  screenshot: async ({ page, path }) => pages.get(page).screenshot({ path }).then(() => ''),
};

function answer(reply) {
  process.stdout.write(JSON.stringify(reply) + '\n');
}

async function run({ id, command, ...args }) {
  try {
    answer({ id, value: await commands[command](args) ?? '' });
  } catch (err) {
    answer({ id, error: err.message });
  }
}

for await (const line of createInterface({ input: process.stdin })) run(JSON.parse(line)); // side by side: some wait
await browser.close();
