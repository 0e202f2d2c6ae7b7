// aedes on a port of 127.0.0.1, with what is in the box: node broker.js PORT
import { createServer } from 'node:net'
import Aedes from 'aedes'

const aedes = new Aedes({ heartbeatInterval: 60000 })
createServer(aedes.handle).listen(Number(process.argv[2]), '127.0.0.1')
