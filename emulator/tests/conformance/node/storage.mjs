// @google-cloud/storage
import { equal, deepEqual, rejects } from 'node:assert/strict';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { ct, newId, run, storage } from './checks.mjs';

const large = Buffer.concat(Array(20).fill(ct));

async function newBucket(...names) {
  const [bucket] = await storage.createBucket(newId('bucket-'));
  for (const name of names) await bucket.file(name).save(name);
  return bucket;
}

const names = ([files]) => files.map((file) => file.name);
const content = async (file, options) => (await file.download(options))[0];

await run({
  async buckets() {
    const bucket = await newBucket();
    const [buckets] = await storage.getBuckets();
    equal(buckets.some((each) => each.name === bucket.name), true);
    await bucket.setLabels({ site: 'a' });
    deepEqual((await bucket.getLabels())[0], { site: 'a' });
    await rejects(storage.createBucket(bucket.name), { code: 409 });
    await bucket.delete();
    deepEqual(await bucket.exists(), [false]);
  },

  async simpleUpload() {
    const file = (await newBucket()).file('a/ct.dcm');
    await file.save(ct, { resumable: false, contentType: 'application/dicom' });
    const [metadata] = await file.getMetadata();
    deepEqual([metadata.contentType, metadata.size], ['application/dicom', String(ct.length)]);
    deepEqual(await content(file), ct);
  },

  async resumableUpload() {
    const file = (await newBucket()).file('large');
    await file.save(large, { resumable: true, chunkSize: 256 * 1024 });
    deepEqual(await content(file, { validation: 'crc32c' }), large);
  },

  async streams() {
    const file = (await newBucket()).file('stream');
    await pipeline(Readable.from([large.subarray(0, 1000), large.subarray(1000)]), file.createWriteStream());
    const pieces = [];
    for await (const piece of file.createReadStream()) pieces.push(piece);
    deepEqual(Buffer.concat(pieces), large);
  },

  async ranges() {
    const file = (await newBucket()).file('ct');
    await file.save(ct);
    equal((await content(file, { start: 128, end: 131 })).toString(), 'DICM');
  },

  async lists() {
    const bucket = await newBucket('a/1.dcm', 'a/b/2.dcm', 'a/3.txt', 'c.dcm');
    deepEqual(names(await bucket.getFiles({ prefix: 'a/' })), ['a/1.dcm', 'a/3.txt', 'a/b/2.dcm']);
    deepEqual(names(await bucket.getFiles({ matchGlob: '**.dcm' })), ['a/1.dcm', 'a/b/2.dcm', 'c.dcm']);
    const [files, , { prefixes }] = await bucket.getFiles({ prefix: 'a/', delimiter: '/', autoPaginate: false });
    deepEqual([names([files]), prefixes], [['a/1.dcm', 'a/3.txt'], ['a/b/']]);
    const [page, next] = await bucket.getFiles({ maxResults: 3, autoPaginate: false });
    deepEqual([page.length, names(await bucket.getFiles(next))], [3, ['c.dcm']]);
  },

  async compose() {
    const bucket = await newBucket('a', 'b');
    const [whole] = await bucket.combine(['a', 'b'], 'whole');
    equal((await content(whole)).toString(), 'ab');
  },

  async copyAndMove() {
    const bucket = await newBucket('a');
    await bucket.file('a').copy('b');
    await bucket.file('a').rename('c');
    deepEqual(names(await bucket.getFiles()), ['b', 'c']);
    equal((await content(bucket.file('c'))).toString(), 'a');
  },

  async preconditions() {
    const file = (await newBucket()).file('a');
    await file.save('1', { preconditionOpts: { ifGenerationMatch: 0 } });
    await rejects(file.save('2', { preconditionOpts: { ifGenerationMatch: 0 } }), { code: 412 });
    const { generation } = file.metadata;
    await file.save('2', { preconditionOpts: { ifGenerationMatch: generation } });
    equal((await content(file)).toString(), '2');
    await rejects(file.delete({ ifGenerationMatch: generation }), { code: 412 });
  },

  async metadata() {
    const file = (await newBucket('a')).file('a');
    await file.setMetadata({ cacheControl: 'no-store', metadata: { patient: '1CT1' } });
    const [found] = await file.getMetadata();
    deepEqual([found.cacheControl, found.metadata, Number(found.metageneration)], ['no-store', { patient: '1CT1' }, 2]);
  },

  async deleting() {
    const bucket = await newBucket('a', 'b', 'c');
    await bucket.file('a').delete();
    deepEqual([await bucket.file('a').exists(), names(await bucket.getFiles())], [[false], ['b', 'c']]);
    await rejects(bucket.file('a').download(), { code: 404 });
    await rejects(bucket.delete(), { code: 409 });
    await bucket.deleteFiles();
    deepEqual(names(await bucket.getFiles()), []);
  },
});
