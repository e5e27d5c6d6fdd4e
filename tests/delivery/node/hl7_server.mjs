// node-hl7-server as an EMR: prints its port, then the MSH-10 of every message it takes.
import { createRequire } from 'node:module';
const { Server } = createRequire(`${process.cwd()}/`)('node-hl7-server');
const port = Number(process.argv[2]);
new Server().createInbound({ port }, async (req, res) => {
  console.log(req.getMessage().get('MSH.10').toString());
  await res.sendResponse('AA');
});
setTimeout(() => console.log('ready'), 200);
