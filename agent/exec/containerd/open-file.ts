/**
 * An open file that is opened at once, not through the thread pool: a start of a container opens four, and each way through
 * the pool is two wake-ups of threads. Read and written through the pool, as the disk may be slow.
 */
import { closeSync, fstatSync, ftruncate, openSync, read, write, writeSync } from "node:fs";
import { promisify } from "node:util";

const readAt = promisify(read);
const writeAt = promisify(write);
const cutAt = promisify(ftruncate);

/** One open file. */
export class OpenFile {
  readonly fd: number;
  /** Reads and writes that are under way: its number may be another file's once it is closed. */
  #using = 0;
  #isClosed = false;

  private constructor(fd: number) {
    this.fd = fd;
  }

  /** @throws Error of the system. */
  static open(path: string, flags: string | number, mode?: number): OpenFile {
    return new OpenFile(openSync(path, flags, mode));
  }

  stat(): { readonly ino: number; readonly size: number } {
    return fstatSync(this.fd);
  }

  /** Into the beginning of the buffer; resolves with how much there was. @throws Error of the system. */
  async read(buffer: Buffer, length: number, position: number): Promise<number> {
    const { bytesRead } = await this.#use(() => readAt(this.fd, buffer, 0, length, position));
    return bytesRead;
  }

  /** From `begin` on, at the place in the file or where it stands; resolves with how much was written. */
  async write(bytes: Uint8Array, begin: number, position: number | null): Promise<number> {
    const length = bytes.length - begin;
    const work = () => writeAt(this.fd, bytes, begin, length, position);
    const { bytesWritten } = await this.#use(work);
    return bytesWritten;
  }

  /** A few bytes at once, for the memory of the kernel. */
  writeNow(bytes: Uint8Array, position: number): void {
    writeSync(this.fd, bytes, 0, bytes.length, position);
  }

  async truncate(length: number): Promise<void> {
    await this.#use(() => cutAt(this.fd, length));
  }

  /** Once what is under way is done. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#using === 0) closeSync(this.fd);
  }

  async #use<T>(work: () => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new Error("the file is closed");
    this.#using++;
    try {
      return await work();
    } finally {
      this.#using--;
      if (this.#isClosed && this.#using === 0) closeSync(this.fd);
    }
  }
}
