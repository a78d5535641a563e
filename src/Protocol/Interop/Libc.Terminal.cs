using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

internal static partial class Libc
{
    private const nuint TCGETS = 0x5401;
    private const nuint TCSETS = 0x5402;
    private const nuint TIOCGPTN = 0x80045430;
    private const nuint TIOCSPTLCK = 0x40045431;

    /// <summary>More than the kernel's struct termios has on any host: 36 bytes.</summary>
    private const int TermiosBytes = 64;

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int ioctl(SafeHandle descriptor, nuint request, byte* argument);

    /// <summary>Opens a new pseudo-terminal: our end, and the path of the other one. It does not become our controlling terminal.</summary>
    /// <exception cref="LinuxException">There is none to be had.</exception>
    // Safety: both requests read or write one int, which is a local of that size.
    internal static unsafe SafeFileHandle OpenPseudoTerminal(out string path)
    {
        SafeFileHandle master = OpenTerminal("/dev/ptmx");
        uint number = 0;
        uint locked = 0;
        if (ioctl(master, TIOCGPTN, (byte*)&number) != 0 || ioctl(master, TIOCSPTLCK, (byte*)&locked) != 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            master.Dispose();
            throw new LinuxException("ioctl(/dev/ptmx)", errno);
        }

        path = FormattableString.Invariant($"/dev/pts/{number}");
        return master;
    }

    /// <summary>Opens a terminal that does not become our controlling one.</summary>
    /// <exception cref="LinuxException">It cannot be opened.</exception>
    internal static SafeFileHandle OpenTerminal(string path)
    {
        const int O_NOCTTY = 0x100;
        SafeFileHandle terminal = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
        int errno = Marshal.GetLastPInvokeError();
        return terminal.IsInvalid ? throw new LinuxException($"open({path})", errno) : terminal;
    }

    /// <summary>Lets every byte through a terminal as it is (cfmakeraw).</summary>
    /// <param name="descriptor">A terminal, or anything else.</param>
    /// <param name="keepSignals">Whether Ctrl-C goes on to be a signal.</param>
    /// <returns>What <see cref="RestoreTerminal"/> takes; null when it is no terminal.</returns>
    // Safety: the kernel reads and writes one struct termios, which is shorter than the local buffer.
    internal static unsafe byte[]? MakeTerminalRaw(SafeHandle descriptor, bool keepSignals)
    {
        const uint InputTranslation = 0x5EB, OutputTranslation = 0x1, SizeAndParity = 0x130, EightBits = 0x30, LineEditing = 0x804A, Signals = 0x1;
        const int MinimumAt = 17 + 6, TimeAt = 17 + 5; // behind the four words and c_line
        byte* termios = stackalloc byte[TermiosBytes];
        Span<byte> bytes = new(termios, TermiosBytes);
        bytes.Clear();
        if (ioctl(descriptor, TCGETS, termios) != 0)
            return null;
        byte[] before = bytes.ToArray();
        Clear(bytes, InputTranslation);
        Clear(bytes[4..], OutputTranslation);
        Clear(bytes[8..], SizeAndParity);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[8..], BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]) | EightBits);
        Clear(bytes[12..], LineEditing | (keepSignals ? 0 : Signals));
        bytes[MinimumAt] = 1;
        bytes[TimeAt] = 0;
        return ioctl(descriptor, TCSETS, termios) == 0 ? before : null;

        static void Clear(Span<byte> word, uint bits) => BinaryPrimitives.WriteUInt32LittleEndian(word, BinaryPrimitives.ReadUInt32LittleEndian(word) & ~bits);
    }

    /// <summary>Undoes <see cref="MakeTerminalRaw"/>.</summary>
    // Safety: the kernel reads one struct termios from a buffer that is longer.
    internal static unsafe void RestoreTerminal(SafeHandle descriptor, byte[] before)
    {
        byte* termios = stackalloc byte[TermiosBytes];
        before.CopyTo(new Span<byte>(termios, TermiosBytes));
        _ = ioctl(descriptor, TCSETS, termios);
    }
}
