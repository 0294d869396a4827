// node's ssh2 and ssh2-sftp-client against one server: node node_cells.js FEATURE PORT KEY DIR. What is missing throws.
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const net = require('net');
const { Client } = require('ssh2');
const SftpClient = require('ssh2-sftp-client');

const [feature, port, key, dir] = process.argv.slice(2);
const NOISE = crypto.randomBytes(6000000);
// As VS Code's SFTP extensions have it: what the server is not known to support is refused.
const options = {
  host: '127.0.0.1', port: Number(port), username: 'root', privateKey: fs.readFileSync(key), strictVendor: true,
};

const connect = () => new Promise((done, fail) => {
  const client = new Client();
  client.on('ready', () => done(client)).on('error', fail).connect(options);
});
const call = (object, name, ...words) => new Promise((done, fail) => {
  object[name](...words, (error, value) => (error ? fail(error) : done(value)));
});
const all = (stream) => new Promise((done, fail) => {
  const parts = [];
  stream.on('data', (part) => parts.push(part)).on('error', fail).on('end', () => done(Buffer.concat(parts)));
});

async function run(client, command, input) {
  const channel = await call(client, 'exec', command);
  const closed = new Promise((done) => channel.on('close', (code) => done(code)));
  const read = Promise.all([all(channel), all(channel.stderr)]);
  channel.end(input || Buffer.alloc(0));
  const [out, err] = await read;
  return { out, err, code: await closed };
}

// Sends back what it gets, then says how much that was.
function echo(socket) {
  let count = 0;
  socket.on('data', (part) => { count += part.length; socket.write(part); });
  socket.on('end', () => socket.end(`=${count}`));
}

async function talk(channel) {
  const answer = all(channel);
  channel.end(NOISE);
  const got = await answer;
  assert(got.subarray(0, NOISE.length).equals(NOISE), `${got.length} bytes`);
  assert.strictEqual(got.subarray(NOISE.length).toString(), `=${NOISE.length}`);
}

const listen = (...where) => new Promise((done) => {
  const server = net.createServer({ allowHalfOpen: true }, echo).listen(...where, () => done(server));
});

const features = {
  async status(client) {
    assert.strictEqual((await run(client, 'exit 7')).code, 7);
    assert.strictEqual((await run(client, '/no/such/program')).code, 127);
  },
  async half_close(client) {
    const { out } = await run(client, 'sort -r; echo after the end', 'a\nc\nb\n');
    assert.strictEqual(out.toString(), 'c\nb\na\nafter the end\n');
  },
  async stderr(client) {
    const { out, err } = await run(client, 'echo out; echo err >&2');
    assert.deepStrictEqual([out.toString(), err.toString()], ['out\n', 'err\n']);
  },
  async both_ways(client) {
    assert((await run(client, 'cat', NOISE)).out.equals(NOISE));
  },
  async files() {
    const sftp = new SftpClient();
    await sftp.connect(options);
    await sftp.put(NOISE, `${dir}/up`);
    assert(fs.readFileSync(`${dir}/up`).equals(NOISE));
    assert((await sftp.get(`${dir}/up`)).equals(NOISE));
    fs.writeFileSync(`${dir}/mine`, NOISE);
    await sftp.fastPut(`${dir}/mine`, `${dir}/fast`);
    await sftp.fastGet(`${dir}/fast`, `${dir}/back`);
    assert(fs.readFileSync(`${dir}/back`).equals(NOISE));
    await sftp.end();
  },
  async list(client) {
    fs.mkdirSync(`${dir}/d`);
    fs.writeFileSync(`${dir}/d/one`, '1');
    fs.writeFileSync(`${dir}/d/over`, 'old');
    const sftp = await call(client, 'sftp');
    await call(sftp, 'ext_openssh_rename', `${dir}/d/one`, `${dir}/d/over`);
    assert.strictEqual(fs.readFileSync(`${dir}/d/over`, 'utf8'), '1');
    // A link called `soft` that leads to `over`, and not the other way round.
    await call(sftp, 'symlink', 'over', `${dir}/d/soft`);
    assert.strictEqual(fs.readlinkSync(`${dir}/d/soft`), 'over');
    await call(sftp, 'ext_openssh_hardlink', `${dir}/d/over`, `${dir}/d/hard`);
    const names = (await call(sftp, 'readdir', `${dir}/d`)).map((entry) => entry.filename).sort();
    assert.deepStrictEqual(names, ['hard', 'over', 'soft']);
    for (const name of names) await call(sftp, 'unlink', `${dir}/d/${name}`);
    await call(sftp, 'rmdir', `${dir}/d`);
    assert(!fs.existsSync(`${dir}/d`));
  },
  async local_forward(client) {
    const server = await listen(0, '127.0.0.1');
    await talk(await call(client, 'forwardOut', '127.0.0.1', 1, '127.0.0.1', server.address().port));
    server.close();
  },
  async streamlocal(client) {
    const server = await listen(`${dir}/there`);
    await talk(await call(client, 'openssh_forwardOutStreamLocal', `${dir}/there`));
    server.close();
  },
  async remote_streamlocal(client) {
    await call(client, 'openssh_forwardInStreamLocal', `${dir}/made`);
    client.on('unix connection', (info, accept) => echo(accept()));
    await talk(net.connect({ path: `${dir}/made`, allowHalfOpen: true }));
  },
};

(async () => {
  const client = await connect();
  await features[feature](client);
  client.end();
  process.exit(0);
})().catch((error) => { console.error(error); process.exit(1); });
