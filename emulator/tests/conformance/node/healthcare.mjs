// @googleapis/healthcare
import { equal, deepEqual, rejects } from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { ct, datasets, mr, newId, project, run, storage } from './checks.mjs';

const location = `projects/${project}/locations/us-central1`;
const study = '1.3.6.1.4.1.5962.1.2.1.20040119072730.12322';
const stores = datasets.dicomStores;

async function end(started) {
  const deadline = Date.now() + 60_000;
  while (Date.now() < deadline) {
    const { data } = await datasets.operations.get({ name: started.data.name });
    if (data.done) return data;
    await sleep(20);
  }
  throw new Error('the operation does not end');
}

async function newStore() {
  const datasetId = newId('d');
  const { response } = await end(await datasets.create({ parent: location, datasetId, requestBody: {} }));
  equal(response.name, `${location}/datasets/${datasetId}`);
  return (await stores.create({ parent: response.name, dicomStoreId: 's', requestBody: {} })).data.name;
}

async function newBucket(objects = {}) {
  const [bucket] = await storage.createBucket(newId('bucket-'));
  for (const [name, data] of Object.entries(objects)) await bucket.file(name).save(data);
  return bucket;
}

async function filledStore() {
  const name = await newStore();
  const bucket = await newBucket({ ct, mr });
  const requestBody = { gcsSource: { uri: `gs://${bucket.name}/*` } };
  const { metadata } = await end(await stores.import({ name, requestBody }));
  deepEqual(metadata.counter, { success: '2' });
  return name;
}

await run({
  async stores() {
    const name = await newStore();
    const labels = { site: 'a' };
    await stores.patch({ name, updateMask: 'labels', requestBody: { labels } });
    deepEqual((await stores.get({ name })).data, { name, labels });
    const parent = name.split('/dicomStores/')[0];
    deepEqual((await stores.list({ parent, filter: 'labels.site=a' })).data, { dicomStores: [{ name, labels }] });
    deepEqual((await stores.delete({ name })).data, {});
    deepEqual((await stores.list({ parent })).data, {});
  },

  async paging() {
    const parent = (await newStore()).split('/dicomStores/')[0];
    await stores.create({ parent, dicomStoreId: 't', requestBody: {} });
    const first = (await stores.list({ parent, pageSize: 1 })).data;
    const second = (await stores.list({ parent, pageSize: 1, pageToken: first.nextPageToken })).data;
    deepEqual([...first.dicomStores, ...second.dicomStores].map(({ name }) => name.at(-1)), ['s', 't']);
    equal(second.nextPageToken, undefined);
  },

  async import() {
    const name = await newStore();
    const bucket = await newBucket({ ct, text: 'no DICOM' });
    const requestBody = { gcsSource: { uri: `gs://${bucket.name}/*` } };
    const { metadata, error } = await end(await stores.import({ name, requestBody }));
    deepEqual(metadata.counter, { success: '1', failure: '1' });
    equal(error.code, 3);
    equal((await stores.getDICOMStoreMetrics({ name })).data.instanceCount, '1');
  },

  async export() {
    const name = await filledStore();
    const bucket = await newBucket({ filter: `/studies/${study}\n` });
    const requestBody = {
      gcsDestination: { uriPrefix: `gs://${bucket.name}/out` },
      filterConfig: { resourcePathsGcsUri: `gs://${bucket.name}/filter` },
    };
    await end(await stores.export({ name, requestBody }));
    const [files] = await bucket.getFiles({ prefix: 'out/' });
    equal(files.length, 1);
    deepEqual((await files[0].download())[0], ct);
  },

  async operations() {
    const dataset = (await filledStore()).split('/dicomStores/')[0];
    const { operations } = (await datasets.operations.list({ name: dataset })).data;
    equal(operations.length, 2);
    deepEqual((await datasets.operations.cancel({ name: operations[0].name, requestBody: {} })).data, {});
  },

  async dicomWeb() {
    const parent = await filledStore();
    const found = await stores.searchForStudies({ parent, dicomWebPath: 'studies' });
    deepEqual(JSON.parse(await text(found.data)).map((each) => each['0020000D'].Value[0]).includes(study), true);
    const metadata = await stores.studies.retrieveMetadata({ parent, dicomWebPath: `studies/${study}/metadata` });
    equal(JSON.parse(await text(metadata.data))[0]['00100020'].Value[0], '1CT1');
    await end(await stores.studies.delete({ parent, dicomWebPath: `studies/${study}` }));
    equal((await stores.getDICOMStoreMetrics({ name: parent })).data.instanceCount, '1');
  },

  async iam() {
    const resource = await newStore();
    const bindings = [{ role: 'roles/healthcare.dicomViewer', members: ['user:jane@example.com'] }];
    await stores.setIamPolicy({ resource, requestBody: { policy: { bindings } } });
    deepEqual((await stores.getIamPolicy({ resource })).data.bindings, bindings);
  },

  async deidentify() {
    const sourceStore = await filledStore();
    const destinationStore = await newStore();
    const config = { dicom: { filterProfile: 'MINIMAL_KEEP_LIST_PROFILE' } };
    const { metadata } = await end(await stores.deidentify({ sourceStore, requestBody: { destinationStore, config } }));
    deepEqual(metadata.counter, { success: '2' });
    equal((await stores.getDICOMStoreMetrics({ name: destinationStore })).data.instanceCount, '2');
  },

  async errors() {
    const name = await newStore();
    await rejects(stores.get({ name: `${name}-none` }), { status: 404 });
    await rejects(stores.import({ name, requestBody: { gcsSource: { uri: 'no URI' } } }), { status: 400 });
    await rejects(datasets.fhirStores.list({ parent: name.split('/dicomStores/')[0] }), { status: 501 });
  },
});

// Answers that are no plain JSON come as a Blob or a stream, by version and kind.
async function text(data) {
  return typeof data === 'string' ? data : new Response(data).text();
}
