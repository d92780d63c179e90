import axe from 'axe-core';
import type { Page } from 'playwright-core';

/**
 * What axe-core finds on a page: each rule that something breaks, and the elements that do.
 * @param ignored rules that are not asked for
 */
export async function findingsOf(
  page: Page,
  ignored: readonly string[] = [],
): Promise<readonly unknown[]> {
  // By the tools of the browser, to which the page's Content-Security-Policy does not apply.
  await page.evaluate(`if (!globalThis.axe) { ${axe.source} }`);
  const rules = Object.fromEntries(ignored.map((id) => [id, { enabled: false }]));
  return page.evaluate(`axe.run({ rules: ${JSON.stringify(rules)} }).then(({ violations }) =>
    violations.map(({ id, nodes }) =>
      [id, ...nodes.map(({ html, failureSummary }) => html.slice(0, 200) + failureSummary)]))`);
}
