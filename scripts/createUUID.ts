#!/usr/bin/env node
/** Prints a random UUID. */
import { randomUUID } from 'node:crypto';

process.stdout.write(`${randomUUID()}\n`);
