using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Tests.Support;

/// <summary>
/// A user-space file system (FUSE) with one file of 1 MiB, which serves until the file is open and from then on never answers a question about the file or
/// about itself. Needs root.
/// </summary>
public sealed class SlowFileSystem : IDisposable
{
    public const ulong FileSize = 1 << 20;

    private const int InHeader = 40, OutHeader = 16, Attributes = 88;
    private const uint Lookup = 1, Forget = 2, GetAttributes = 3, Open = 14, StatFs = 17, Initialize = 26;
    private const int NotImplemented = -38;

    private readonly SafeFileHandle _device;
    private readonly string _folder = Directory.CreateTempSubdirectory("vhost-slow").FullName;
    private readonly Thread _server;
    private volatile bool _silent;

    private SlowFileSystem(SafeFileHandle device)
    {
        _device = device;
        string options = $"fd={(int)device.DangerousGetHandle()},rootmode=40000,user_id=0,group_id=0";
        if (mount("vhost-slow", _folder, "fuse", 0, options) != 0)
            throw new InvalidOperationException($"mount: {Marshal.GetLastPInvokeError()}");
        _server = new Thread(Serve) { IsBackground = true };
        _server.Start();
        File = System.IO.File.OpenHandle(Path.Combine(_folder, "memory"), FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
    }

    /// <summary>The file.</summary>
    public SafeFileHandle File { get; }

    /// <summary>Null, and why, where this process may not mount one.</summary>
    public static SlowFileSystem? TryMount(out string reason)
    {
        reason = "a file system of our own needs root and /dev/fuse";
        if (!Environment.IsPrivilegedProcess || !System.IO.File.Exists("/dev/fuse"))
            return null;
        try
        {
            SlowFileSystem mounted = new(System.IO.File.OpenHandle("/dev/fuse", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite));
            mounted._silent = true;
            return mounted;
        }
        catch (Exception e) when (e is InvalidOperationException or IOException or UnauthorizedAccessException)
        {
            reason = $"no file system of our own: {e.Message}";
            return null;
        }
    }

    /// <summary>Whoever still waits for an answer gets an error.</summary>
    public void Dispose()
    {
        const int Detach = 2;
        File.Dispose();
        _ = umount2(_folder, Detach);
        _device.Dispose();
        Directory.Delete(_folder);
    }

    private void Serve()
    {
        byte[] request = new byte[1 << 17];
        byte[] reply = new byte[256];
        while (Libc.Read(_device, request) is int length and >= InHeader)
        {
            uint operation = BinaryPrimitives.ReadUInt32LittleEndian(request.AsSpan(4));
            if (operation == Forget || (_silent && operation is GetAttributes or StatFs))
                continue;
            Array.Clear(reply);
            int size = Fill(operation, BinaryPrimitives.ReadUInt64LittleEndian(request.AsSpan(16)), reply.AsSpan(OutHeader));
            BinaryPrimitives.WriteInt32LittleEndian(reply, OutHeader + Math.Max(size, 0));
            BinaryPrimitives.WriteInt32LittleEndian(reply.AsSpan(4), size < 0 ? NotImplemented : 0);
            request.AsSpan(8, 8).CopyTo(reply.AsSpan(8));
            _ = Libc.Write(_device, reply.AsSpan(0, OutHeader + Math.Max(size, 0)));
        }
    }

    /// <returns>Bytes of the answer; negative: this operation does not exist here.</returns>
    private static int Fill(uint operation, ulong node, Span<byte> answer)
    {
        switch (operation)
        {
            case Initialize:
                BinaryPrimitives.WriteUInt32LittleEndian(answer, 7);
                BinaryPrimitives.WriteUInt32LittleEndian(answer[4..], 31);
                BinaryPrimitives.WriteUInt32LittleEndian(answer[20..], 1 << 16);
                return 64;
            case Lookup:
                BinaryPrimitives.WriteUInt64LittleEndian(answer, 2);
                FillAttributes(2, answer[40..]);
                return 40 + Attributes;
            case GetAttributes:
                FillAttributes(node, answer[16..]);
                return 16 + Attributes;
            case Open:
                return 16;
            default:
                return -1;
        }
    }

    private static void FillAttributes(ulong node, Span<byte> attributes)
    {
        const ulong Root = 1;
        BinaryPrimitives.WriteUInt64LittleEndian(attributes, node);
        BinaryPrimitives.WriteUInt64LittleEndian(attributes[8..], node == Root ? 0 : FileSize);
        BinaryPrimitives.WriteUInt32LittleEndian(attributes[60..], node == Root ? (uint)Libc.S_IFDIR | 0x1ed : (uint)Libc.S_IFREG | 0x1b6);
        BinaryPrimitives.WriteUInt32LittleEndian(attributes[64..], 1);
        BinaryPrimitives.WriteUInt32LittleEndian(attributes[80..], 4096);
    }

    [DllImport("libc", SetLastError = true, BestFitMapping = false, ThrowOnUnmappableChar = true)]
    private static extern int mount(
        [MarshalAs(UnmanagedType.LPUTF8Str)] string source,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string target,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string type,
        nuint flags,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string options);

    [DllImport("libc", SetLastError = true, BestFitMapping = false, ThrowOnUnmappableChar = true)]
    private static extern int umount2([MarshalAs(UnmanagedType.LPUTF8Str)] string target, int flags);
}
