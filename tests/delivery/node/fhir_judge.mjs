// Reads a bundle a line, prints what npm fhir finds wrong with it (errors only), a JSON list a line.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
const { Fhir } = createRequire(`${process.cwd()}/`)('fhir');
const fhir = new Fhir();
for await (const line of createInterface({ input: process.stdin })) {
  const { messages } = fhir.validate(JSON.parse(line));
  console.log(JSON.stringify(messages.filter((m) => m.severity === 'error' || m.severity === 'fatal')));
}
