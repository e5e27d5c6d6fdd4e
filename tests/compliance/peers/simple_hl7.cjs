// Sends the messages on stdin (a JSON list) to a port, each after the answer to the one before; prints the answers as JSON.
const fs = require("node:fs");
const hl7 = require(require.resolve("simple-hl7", { paths: [process.cwd()] }));

const client = hl7.Server.createTcpClient({ host: "127.0.0.1", port: Number(process.argv[2]), keepalive: true });
const parser = new hl7.Parser({ segmentSeperator: "\r" });
const answers = [];
const messages = JSON.parse(fs.readFileSync(0, "utf8"));

function next() {
  if (messages.length === 0) {
    client.close();
    console.log(JSON.stringify(answers));
    process.exit(0);
  }
  client.send(parser.parse(messages.shift()), (error, answer) => {
    if (error) {
      console.error(String(error));
      process.exit(1);
    }
    answers.push(answer.toString());
    setImmediate(next);
  });
}
next();
