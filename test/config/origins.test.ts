import { describe, expect, it } from 'vitest';
import { allowsOrigin, parseOrigins } from '../../src/config/origins.js';

describe('a list of origins', () => {
  it.each([
    ['*', '*'],
    [' * ', '*'],
    ['https://app.example', ['https://app.example']],
    ['https://app.example/', ['https://app.example']],
    ['HTTPS://App.Example', ['https://app.example']],
    ['https://app.example:443', ['https://app.example']],
    ['http://app.example:80/', ['http://app.example']],
    ['http://app.example:443', ['http://app.example:443']],
    ['http://localhost:3000', ['http://localhost:3000']],
    ['http://[::1]:3000', ['http://[::1]:3000']],
    ['https://bücher.example', ['https://xn--bcher-kva.example']],
    ['capacitor://localhost', ['capacitor://localhost']],
    ['Chrome-Extension://AbC', ['chrome-extension://abc']],
    ['null', ['null']],
    ['https://a.example,https://b.example', ['https://a.example', 'https://b.example']],
    [' https://a.example , https://b.example, ', ['https://a.example', 'https://b.example']],
    ['https://a.example\nhttps://b.example', ['https://a.example', 'https://b.example']],
    ['https://a.example,https://A.example/', ['https://a.example']],
  ])('is normalised to the form that browsers send: %j', (list, origins) => {
    expect(parseOrigins(list)).toEqual(origins);
  });

  it.each([
    '',
    ',',
    'app.example',
    'localhost:3000',
    '//app.example',
    'https://',
    'https://*.example',
    '*.example',
    'https://app.example/chat',
    'https://app.example/?',
    'https://app.example/#',
    'https://app.example?x=1',
    'https://ana@app.example',
    'https://app.example:99999',
    'https://a.example;https://b.example',
    'https://a.example,app.example',
    '*,https://a.example',
    'file:///srv/page.html',
    'wss://app.example',
    'ws://localhost:3000',
  ])('is refused: %j', (list) => {
    expect(parseOrigins(list)).toBeUndefined();
  });

  it('allows its own origins, and * allows all', () => {
    expect(allowsOrigin('*', 'null')).toBe(true);
    expect(allowsOrigin(['https://a.example', 'null'], 'https://a.example')).toBe(true);
    expect(allowsOrigin(['https://a.example', 'null'], 'null')).toBe(true);
    for (const other of ['', 'null', 'http://a.example', 'https://a.example.evil.example']) {
      expect(allowsOrigin(['https://a.example'], other)).toBe(false);
    }
  });
});
