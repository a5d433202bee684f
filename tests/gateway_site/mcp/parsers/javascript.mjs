// Prints what programs in JavaScript find in each text: a base64 text per line on stdin, a JSON line
// per text on stdout: {"strict": found, "lenient": found, "copied": found}, null for an error. `node javascript.mjs calls`
// prints the calls that a server would make of a message: method, name and address, the reference
// of a completion, the subscriptions, and each address as URL has it. With `lists` it prints the
// names in a result, by kind.
import { createInterface } from "node:readline";

const ENTRIES = { tools: "name", prompts: "name", resources: "uri", resourceTemplates: "uriTemplate" };
const member = (object, name) => (object && typeof object === "object" ? object[name] : undefined);
const text = (value) => (typeof value === "string" ? value : null);
const href = (uri) => {
  try {
    return [new URL(uri).href];
  } catch {
    return [];
  }
};
const call = (message) => {
  const params = member(message, "params");
  const ref = member(params, "ref");
  const wanted = member(member(params, "notifications"), "resourceSubscriptions");
  const subscriptions = Array.isArray(wanted) ? wanted.filter((each) => text(each) !== null) : [];
  const [name, uri] = [text(member(params, "name")), text(member(params, "uri"))];
  const reference = ["type", "name", "uri"].map((each) => text(member(ref, each)));
  const addresses = [uri, reference[2], ...subscriptions].filter((each) => each !== null);
  const forms = Object.fromEntries(addresses.map((each) => [each, href(each)]));
  return [text(member(message, "method")), name, uri, reference, subscriptions, forms];
};
const calls = (found) =>
  (Array.isArray(found) ? found : [found]).map(call).filter((each) => each[0] !== null);
const lists = (found) =>
  Object.fromEntries(
    Object.entries(ENTRIES).map(([kind, named]) => {
      const entries = member(member(found, "result"), kind);
      const names = Array.isArray(entries) ? entries.map((each) => text(member(each, named))) : [];
      return [kind, names.filter((each) => each !== null)];
    }),
  );
const read = process.argv[2] === "lists" ? lists : calls;
// As zod 3.25 to 4.2 copies what it validates: `__proto__` becomes the prototype.
const copy = (value) => {
  if (value === null || typeof value !== "object") return value;
  const copied = Array.isArray(value) ? [] : {};
  for (const name of Object.keys(value)) copied[name] = copy(value[name]);
  return copied;
};
const tried = (decode, bytes, prepare = (value) => value) => {
  try {
    return read(prepare(JSON.parse(decode(bytes))));
  } catch {
    return null;
  }
};
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lenient = new TextDecoder("utf-8"); // as fetch's json(), which drops a byte order mark
for await (const line of createInterface({ input: process.stdin })) {
  const bytes = Buffer.from(line, "base64");
  const found = {
    strict: tried((each) => strict.decode(each), bytes),
    lenient: tried((each) => lenient.decode(each), bytes),
    copied: tried((each) => strict.decode(each), bytes, copy),
  };
  console.log(JSON.stringify(found));
}
