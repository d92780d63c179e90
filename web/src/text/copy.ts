/**
 * Puts a text into the clipboard.
 * @throws if the browser does not allow it
 */
export async function copy(text: string): Promise<void> {
  // Browsers have it on pages of https and of localhost alone, and the page may be tried by http in a local network.
  const clipboard = navigator.clipboard as Clipboard | undefined;
  if (clipboard !== undefined) {
    await clipboard.writeText(text);
    return;
  }
  const give = (event: ClipboardEvent): void => {
    event.clipboardData?.setData('text/plain', text);
    event.preventDefault();
  };
  document.addEventListener('copy', give);
  // oxlint-disable-next-line typescript/no-deprecated -- there is nothing else
  const isCopied = document.execCommand('copy');
  document.removeEventListener('copy', give);
  if (!isCopied) throw new Error('copy');
}
