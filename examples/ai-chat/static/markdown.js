// Markdown as models write it, to DOM nodes. Text becomes text nodes and never markup: there is no innerHTML, so that nothing that a
// model was talked into writing is run. Images become links: one that loads by itself would tell its server what the URL has.

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:\s+(.*)|$)/;
const TASK = /^\[([ xX])\]\s+/;
const DELIMITER = /^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const DEEPEST = 8; // lists and quotes inside each other; what is deeper is text

// Shows text in a node, and keeps what of the node is as it was: an answer that grows changes its last block only, and a selection
// in the others stays. `growing` is whether more is to come: then marks that are still open count as closed at the end.
export function show(node, text, growing = false) {
  const blocks = split(text.replace(/\r\n?/g, "\n").replaceAll("\0", "").split("\n"));
  const had = node.blocks ?? [];
  let same = 0;
  while (same < had.length && same < blocks.length - (growing ? 1 : 0) && had[same] === blocks[same].join("\n")) same++;
  while (node.childNodes.length > same) node.lastChild.remove();
  blocks.slice(same).forEach((lines, i) => node.append(block(lines, 0, growing && same + i === blocks.length - 1)));
  // The last one may have been drawn as one that grows: it is drawn anew once it does not.
  node.blocks = blocks.slice(0, growing ? -1 : undefined).map((lines) => lines.join("\n"));
}

// Splits lines into blocks, each of which is one element.
function split(lines) {
  const blocks = [];
  for (let at = 0; at < lines.length;) {
    if (!lines[at].trim()) { at++; continue; }
    const end = endOf(lines, at);
    blocks.push(lines.slice(at, end));
    at = end;
  }
  return blocks;
}

// endOf is where the block ends that begins at a line.
function endOf(lines, at) {
  const first = lines[at];
  const fence = FENCE.exec(first);
  if (fence) {
    const close = lines.findIndex((line, i) => i > at && closes(line, fence[1]));
    return close < 0 ? lines.length : close + 1;
  }
  if (HEADING.test(first) || RULE.test(first)) return at + 1;
  if (ITEM.test(first)) return endOfList(lines, at);
  let end = at + 1;
  const quote = QUOTE.test(first), table = isTable(lines, at);
  while (end < lines.length && lines[end].trim()) {
    if (quote !== QUOTE.test(lines[end])) break;
    if (table && !lines[end].includes("|")) break;
    if (!quote && !table && (interrupts(lines[end]) || isTable(lines, end))) break;
    end++;
  }
  return end;
}

function closes(line, fence) {
  const text = line.trim();
  return text.length >= fence.length && text === fence[0].repeat(text.length);
}

// What ends a paragraph without an empty line.
function interrupts(line) {
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || ITEM.test(line);
}

function isTable(lines, at) {
  return lines[at].includes("|") && at + 1 < lines.length && lines[at + 1].includes("-") && DELIMITER.test(lines[at + 1]);
}

// A list goes on over empty lines as long as items or what is indented comes after them, and over the whole of code in it.
function endOfList(lines, at) {
  const [, indent, marker] = ITEM.exec(lines[at]);
  const inner = indent.length + 2;
  let fence = "";
  for (let end = at + 1; ; end++) {
    if (end >= lines.length) return end;
    const line = lines[end], depth = line.search(/\S/);
    if (fence) {
      if (closes(line, fence)) fence = "";
      continue;
    }
    if (depth < 0) {
      let next = end;
      while (next < lines.length && !lines[next].trim()) next++;
      if (next === lines.length || !(lines[next].search(/\S/) >= inner || sibling(lines[next], indent, marker))) return end;
      continue;
    }
    if (depth >= inner) fence = FENCE.exec(line.trim())?.[1] ?? "";
    else if (ITEM.test(line) ? !sibling(line, indent, marker) : HEADING.test(line) || RULE.test(line) || FENCE.test(line)) return end;
  }
}

// An item of the same list: as far left, or a bit more, and of the same kind.
function sibling(line, indent, marker) {
  const item = ITEM.exec(line);
  return Boolean(item) && !RULE.test(line) && /\d/.test(item[2]) === /\d/.test(marker) && item[1].length < indent.length + 2;
}

// block makes the element of a block.
function block(lines, depth, growing) {
  if (depth < DEEPEST) {
    const fence = FENCE.exec(lines[0]);
    if (fence) return code(lines.slice(1, lines.length > 1 && closes(lines.at(-1), fence[1]) ? -1 : undefined), fence[2]);
    const heading = HEADING.exec(lines[0]);
    // The page's own heading is above those of an answer.
    if (heading) return element(`h${Math.min(heading[1].length + 1, 6)}`, inline(heading[2], growing));
    if (RULE.test(lines[0])) return element("hr");
    if (ITEM.test(lines[0])) return list(lines, depth, growing);
    if (QUOTE.test(lines[0])) return element("blockquote", inside(lines.map((line) => line.replace(QUOTE, "")), depth, growing));
    if (isTable(lines, 0)) return table(lines, growing);
  }
  return element("p", inline(lines.map((line) => line.trimStart()).join("\n"), growing));
}

function inside(lines, depth, growing) {
  const blocks = split(lines);
  return blocks.map((each, i) => block(each, depth + 1, growing && i === blocks.length - 1));
}

function list(lines, depth, growing) {
  const [, indent, marker] = ITEM.exec(lines[0]);
  const items = [];
  for (const line of lines) {
    if (sibling(line, indent, marker)) items.push([line]);
    else items.at(-1).push(line);
  }
  const node = element(/\d/.test(marker) ? "ol" : "ul");
  const start = parseInt(marker, 10);
  if (start > 1) node.start = start;
  // A list with empty lines between its items has paragraphs in them.
  const loose = items.some((item, i) => item.slice(0, i < items.length - 1 ? undefined : -1).some((line) => !line.trim()));
  items.forEach((item, i) => node.append(listItem(item, loose, depth, growing && i === items.length - 1)));
  return node;
}

function listItem(lines, loose, depth, growing) {
  const [, indent, marker, first = ""] = ITEM.exec(lines[0]);
  const width = indent.length + marker.length + 1;
  const task = TASK.exec(first);
  // Models indent by two, three or four, whatever the marker.
  const rest = lines.slice(1).map((line) => line.slice(Math.min(Math.max(line.search(/\S/), 0), width)));
  const nodes = inside([task ? first.slice(task[0].length) : first, ...rest], depth, growing);
  const node = element("li", nodes.flatMap((child) => !loose && child.tagName === "P" ? [...child.childNodes] : [child]));
  if (task) {
    const box = Object.assign(element("input"), { type: "checkbox", checked: task[1] !== " ", disabled: true });
    box.setAttribute("aria-label", box.checked ? "done" : "to do");
    node.className = "task";
    node.prepend(box);
  }
  return node;
}

function code(lines, language) {
  const text = lines.join("\n");
  const pre = scrolls(element("pre", [element("code", [text])]), language ? `Code, ${language}` : "Code");
  const button = element("button", ["Copy"]);
  button.type = "button";
  button.onclick = () => copy(button, text);
  const node = element("div", [element("div", [element("span", [language || "text"]), button]), pre]);
  node.className = "code";
  return node;
}

// copy puts text where it can be pasted from, and says so on the button.
export async function copy(button, text) {
  const was = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed"; // such as over http:// from another machine
  }
  setTimeout(() => { button.textContent = was; }, 2000);
}

function table(lines, growing) {
  const aligned = cells(lines[1]).map((cell) => /^:-+:$/.test(cell) ? "center" : /-:$/.test(cell) ? "right" : "");
  const row = (line, tag, open) => element("tr", aligned.map((align, i) => {
    const cell = element(tag, inline(cells(line)[i] ?? "", open));
    cell.className = align;
    if (tag === "th") cell.scope = "col";
    return cell;
  }));
  const body = lines.slice(2).map((line, i) => row(line, "td", growing && i === lines.length - 3));
  const node = scrolls(element("div", [element("table", [element("thead", [row(lines[0], "th", false)]), element("tbody", body)])]), "Table");
  node.className = "table";
  return node;
}

// cells splits a row at the bars that are neither escaped nor inside code.
function cells(line) {
  const text = line.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  return (text.match(/(?:\\.|`[^`]*`|[^|\\`]|[\\`])*(?:\||$)/g) ?? []).slice(0, -1)
    .map((cell) => cell.replace(/\|$/, "").replaceAll("\\|", "|").trim());
}

// What is too wide scrolls in itself, by keys too.
function scrolls(node, label) {
  node.tabIndex = 0;
  node.setAttribute("role", "region");
  node.setAttribute("aria-label", label);
  return node;
}

const MARKS = [
  [/^\\([!-/:-@[-`{-~])/, (m) => [m[1]]],
  [/^(`+)(?!`)([^]*?[^`])\1(?!`)/, (m) => [element("code", [m[2].replace(/\n/g, " ").replace(/^ (.*[^ ].*) $/, "$1")])]],
  [/^(?: {2,}|\\)\n\s*/, () => [element("br")]],
  [/^!?\[((?:\\.|`[^`]*`|[^\]\\[]|\[[^\]]*\])*)\]\(\s*<?([^\s<>]*?(?:\([^\s()]*\)[^\s<>]*?)*)>?(?:\s+["'(][^]*?["')])?\s*\)/, link],
  [/^<(https?:\/\/[^\s<>]+|mailto:[^\s<>]+)>/, (m) => [anchor(m[1], [m[1]])]],
  [/^https?:\/\/[^\s<>"'`|]*[^\s<>"'`|.,:;!?*_~)\]]/, (m) => [anchor(m[0], [m[0]])]],
  [/^(\*\*\*|___)(?=\S)([^]*?\S)\1/, (m, open, level) => [element("strong", [element("em", inline(m[2], open, level))])], "word"],
  [/^(([*_])\2)(?=\S)([^]*?\S)\1(?!\2)/, (m, open, level) => [element("strong", inline(m[3], open, level))], "word"],
  [/^([*_])(?=[^\s*_])((?:\\.|\*\*[^]*?\*\*|[^\\])*?[^\s*_]|\S)\1(?!\1)/, (m, open, level) => [element("em", inline(m[2], open, level))], "word"],
  [/^~~(?=\S)([^]*?\S)~~/, (m, open, level) => [element("s", inline(m[1], open, level))]],
];
const LONGEST = 8_000; // characters of one paragraph in which marks are looked for; the rest of it is text

// inline makes the nodes of a text in a block.
function inline(text, open = false, level = 0) {
  if (level > DEEPEST) return [text];
  const rest = text.slice(LONGEST);
  text = open && !rest ? closed(text) : text.slice(0, LONGEST);
  const nodes = [];
  let plain = "";
  for (let at = 0; at < text.length;) {
    const found = /[\\`!\[<*_~\n ]|https?:/.exec(text.slice(at));
    const to = found ? at + found.index : text.length;
    plain += text.slice(at, to);
    at = to;
    if (!found) break;
    const [length, made] = mark(text, at, plain.at(-1) ?? "", level);
    if (made) {
      nodes.push(plain, ...made);
      plain = "";
    } else {
      plain += text.slice(at, at + length);
    }
    at += length;
  }
  nodes.push(plain + rest);
  return nodes.filter((node) => node !== "");
}

// mark is what begins at a place: how long it is, and its nodes, if it is a mark.
function mark(text, at, before, level) {
  const here = text.slice(at);
  for (const [pattern, make, word] of MARKS) {
    const found = pattern.exec(here);
    if (!found) continue;
    // snake_case has no emphasis in it.
    if (word && here[0] === "_" && (/\w/.test(before) || /^\w/.test(here.slice(found[0].length)))) continue;
    return [found[0].length, make(found, false, level + 1)];
  }
  return [/^(?:([*_~`])\1*|https?|[^])/.exec(here)[0].length, null];
}

// closed is a text whose end has been typed halfway: what is open is closed, and what is just about to begin left out.
function closed(text) {
  text = text.replace(/(?:\*+|_+|~+|`+|!?\[[^\]]*(?:\](?:\([^)]*)?)?)$/, (tail) => /^!?\[/.test(tail) ? tail.replace(/^!?\[([^\]]*).*$/s, "$1") : "");
  const bare = text.replace(/\\./g, "");
  const ticks = bare.match(/`/g)?.length ?? 0;
  if (ticks % 2) return text + "`";
  const outside = bare.replace(/`[^`]*`/g, "");
  const odd = (pattern) => (outside.match(pattern)?.length ?? 0) % 2 === 1;
  let ends = "";
  if (odd(/(?<![*\w])\*(?=[^\s*])|(?<=[^\s*])\*(?!\*)(?<!\*\*)/g) && /(?<![*\w])\*(?=[^\s*])[^*]*$/.test(outside)) ends += "*";
  if (odd(/\*\*/g)) ends += "**";
  if (odd(/~~/g)) ends += "~~";
  return ends ? text.trimEnd() + ends : text;
}

function link(m, open, level) {
  const label = m[1] ? inline(m[1], open, level) : [m[2]];
  return [anchor(m[2], label)];
}

// anchor links to web pages and mail addresses only; javascript: and the like stay text.
function anchor(url, label) {
  if (!/^(?:https?:\/\/|mailto:)/i.test(url)) return element("span", label);
  const node = element("a", label);
  node.href = url;
  node.target = "_blank";
  node.rel = "noopener noreferrer nofollow";
  return node;
}

function element(tag, children = []) {
  const node = document.createElement(tag);
  node.append(...children);
  return node;
}
