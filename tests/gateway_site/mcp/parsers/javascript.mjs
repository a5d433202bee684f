// Prints what a server in JavaScript would call for each message: a base64 text per line on stdin,
// a JSON line per message on stdout: {"strict": calls, "lenient": calls}, null for an error.
import { createInterface } from "node:readline";

const member = (object, name) => (object && typeof object === "object" ? object[name] : undefined);
const text = (value) => (typeof value === "string" ? value : null);
const call = (message) => {
  const params = member(message, "params");
  return [text(member(message, "method")), text(member(params, "name")), text(member(params, "uri"))];
};
const calls = (decode, bytes) => {
  try {
    const found = JSON.parse(decode(bytes));
    return (Array.isArray(found) ? found : [found]).map(call).filter((each) => each[0] !== null);
  } catch {
    return null;
  }
};
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lenient = new TextDecoder("utf-8"); // as fetch's json(), which drops a byte order mark
for await (const line of createInterface({ input: process.stdin })) {
  const bytes = Buffer.from(line, "base64");
  const found = {
    strict: calls((each) => strict.decode(each), bytes),
    lenient: calls((each) => lenient.decode(each), bytes),
  };
  console.log(JSON.stringify(found));
}
