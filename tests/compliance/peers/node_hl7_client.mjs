// Sends the messages on stdin (a JSON list) to a port, each after the answer to the one before; prints the answers as JSON.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const { Client, Message } = createRequire(process.cwd() + "/")("node-hl7-client");
const answers = [];
let heard = null;
const client = new Client({ host: "127.0.0.1" });
const connection = client.createConnection({ port: Number(process.argv[2]), waitAck: true }, async (answer) => {
  answers.push(answer.getMessage().toString());
  heard?.();
});
// A message that is sent before it is connected makes it connect a second time.
await new Promise((connected) => connection.once("connect", connected));
for (const text of JSON.parse(readFileSync(0, "utf8"))) {
  const answered = new Promise((done) => (heard = done));
  await connection.sendMessage(new Message({ text }));
  await answered;
}
await connection.close();
console.log(JSON.stringify(answers));
process.exit(0);
