// MQTT.js against the broker: node mqttjs.mjs SCENARIO PORT VERSION NAME. Exits 0 if all went as it should.
import assert from 'node:assert/strict'
import mqtt from 'mqtt'

const [scenario, port, version, name] = process.argv.slice(2)
const protocolVersion = Number(version)
const v5 = protocolVersion === 5

async function connect(clientId, options = {}) {
  const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, {clientId, protocolVersion, reconnectPeriod: 0, ...options})
  client.inbox = []
  client.on('message', (topic, payload, packet) => client.inbox.push({topic, payload: payload.toString(), ...pick(packet)}))
  client.connack = await once(client, 'connect')
  return client
}

function pick({qos, retain, dup, properties}) {
  return {qos, retain, dup, properties}
}

function once(emitter, event) {
  return new Promise((resolve, reject) => {
    emitter.once(event, resolve)
    emitter.once('error', reject)
  })
}

async function messages(client, count) {
  const limit = Date.now() + 5000
  while (client.inbox.length < count) {
    assert.ok(Date.now() < limit, `only ${client.inbox.length} of ${count} messages came`)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
  return client.inbox.splice(0, count)
}

const scenarios = {
  async roundtrip() {
    const client = await connect(name)
    const granted = await client.subscribeAsync(`${name}/#`, {qos: 2})
    assert.equal(granted[0].qos, 2)
    for (const qos of [0, 1, 2]) {
      for (let i = 0; i < 10; ++i) await client.publishAsync(`${name}/a`, `${i}`, {qos})
      const got = await messages(client, 10)
      assert.deepEqual(got.map(m => m.payload), [...Array(10).keys()].map(String))
      assert.ok(got.every(m => m.qos === qos && !m.retain && !m.dup))
    }
    if (v5) {
      const userProperties = {b: '1', a: ['2', '3']}
      await client.publishAsync(`${name}/p`, 'x', {qos: 1, properties: {userProperties, contentType: 'text/plain'}})
      const [message] = await messages(client, 1)
      assert.equal(message.properties.contentType, 'text/plain')
      assert.deepEqual({...message.properties.userProperties}, userProperties)
    }
    await client.endAsync()
  },

  async will() {
    const watcher = await connect(`w-${name}`)
    await watcher.subscribeAsync(`${name}/will`, {qos: 1})
    const polite = await connect(name, {will: {topic: `${name}/will`, payload: 'never', qos: 1}})
    await polite.endAsync()
    const lost = await connect(name, {will: {topic: `${name}/will`, payload: 'gone', qos: 1}})
    lost.stream.destroy()
    const [message] = await messages(watcher, 1)
    assert.equal(message.payload, 'gone')
    await watcher.endAsync()
  },

  // The connection breaks; the client comes back by itself, to its session, with all that it missed.
  async reconnect() {
    const keep = {clean: false, reconnectPeriod: 500, resubscribe: false,
                  ...(v5 ? {properties: {sessionExpiryInterval: 60}} : {})}
    const client = await connect(name, keep)
    assert.equal(client.connack.sessionPresent, false)
    await client.subscribeAsync(name, {qos: 1})
    const writer = await connect(`w-${name}`)
    const back = once(client, 'connect')
    client.stream.destroy()
    for (let i = 0; i < 10; ++i) await writer.publishAsync(name, `${i}`, {qos: 1})
    const connack = await back
    assert.equal(connack.sessionPresent, true)
    const got = await messages(client, 10)
    assert.deepEqual(got.map(m => m.payload), [...Array(10).keys()].map(String))
    await Promise.all([client.endAsync(), writer.endAsync()])
  },

  async takeover() {
    const old = await connect(name)
    const told = v5 ? once(old, 'disconnect') : undefined
    const closed = once(old, 'close')
    const winner = await connect(name)
    if (v5) assert.equal((await told).reasonCode, 0x8E)
    await closed
    await winner.subscribeAsync(name)
    await winner.publishAsync(name, 'x', {qos: 1})
    await messages(winner, 1)
    assert.equal(old.inbox.length, 0)
    await winner.endAsync()
  },
}

setTimeout(() => {
  console.error(`${scenario}: nothing happens any more`)
  process.exit(2)
}, 20000).unref()
await scenarios[scenario]()
process.exit(0)
