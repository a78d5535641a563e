using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Tests.Support;

/// <summary>A file system in user space (FUSE) with one file, answered by a thread of its own. Needs root.</summary>
public abstract class UserFileSystem : IDisposable
{
    private protected const int NotImplemented = -38;
    private protected const uint GetAttributes = 3, StatFs = 17;

    private const int InHeader = 40, OutHeader = 16, Attributes = 88, MostData = 1 << 16;
    private const uint Lookup = 1, Forget = 2, Open = 14, Release = 18, Flush = 25, Initialize = 26, Interrupt = 36, ForgetMany = 42;
    private const uint OpenDirect = 1;

    private readonly SafeFileHandle _device;
    private readonly ulong _fileSize;
    private readonly bool _direct;
    private readonly string _folder = Directory.CreateTempSubdirectory("vhost-fuse").FullName;

    /// <summary>A file system that is not mounted yet.</summary>
    /// <param name="device">Its end of the conversation with the kernel.</param>
    /// <param name="fileSize">Bytes of the file.</param>
    /// <param name="direct">Every read and write is passed on as it is; such a file cannot be mapped.</param>
    private protected UserFileSystem(SafeFileHandle device, ulong fileSize, bool direct)
    {
        _device = device;
        _fileSize = fileSize;
        _direct = direct;
    }

    /// <summary>The file.</summary>
    public string FilePath => Path.Combine(_folder, "memory");

    /// <summary>Whoever still waits for an answer gets an error.</summary>
    public virtual void Dispose()
    {
        const int Detach = 2;
        _ = umount2(_folder, Detach);
        _device.Dispose();
        Directory.Delete(_folder);
        GC.SuppressFinalize(this);
    }

    /// <summary>Null, and why, where this process may not mount one.</summary>
    private protected static T? TryMount<T>(Func<SafeFileHandle, T> make, out string reason)
        where T : UserFileSystem
    {
        reason = "a file system of our own needs root and /dev/fuse";
        if (!Environment.IsPrivilegedProcess || !File.Exists("/dev/fuse"))
            return null;
        try
        {
            T mounted = make(File.OpenHandle("/dev/fuse", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite));
            mounted.Mount();
            return mounted;
        }
        catch (Exception e) when (e is InvalidOperationException or IOException or UnauthorizedAccessException)
        {
            reason = $"no file system of our own: {e.Message}";
            return null;
        }
    }

    /// <summary>Answers one request, or leaves it unanswered.</summary>
    private protected virtual void Handle(ReadOnlySpan<byte> request)
    {
        Span<byte> answer = stackalloc byte[128];
        answer.Clear();
        int size = Fill(OperationOf(request), NodeOf(request), answer);
        Answer(UniqueOf(request), Math.Min(size, 0), answer[..Math.Max(size, 0)]);
    }

    private protected static uint OperationOf(ReadOnlySpan<byte> request) => BinaryPrimitives.ReadUInt32LittleEndian(request[4..]);

    private protected static ulong UniqueOf(ReadOnlySpan<byte> request) => BinaryPrimitives.ReadUInt64LittleEndian(request[8..]);

    /// <summary>What follows the header.</summary>
    private protected static ReadOnlySpan<byte> BodyOf(ReadOnlySpan<byte> request) => request[InHeader..];

    /// <summary>Answers from any thread.</summary>
    private protected void Answer(ulong unique, int error, ReadOnlySpan<byte> data)
    {
        byte[] reply = new byte[OutHeader + data.Length];
        BinaryPrimitives.WriteInt32LittleEndian(reply, reply.Length);
        BinaryPrimitives.WriteInt32LittleEndian(reply.AsSpan(4), error);
        BinaryPrimitives.WriteUInt64LittleEndian(reply.AsSpan(8), unique);
        data.CopyTo(reply.AsSpan(OutHeader));
        _ = Libc.Write(_device, reply);
    }

    private static ulong NodeOf(ReadOnlySpan<byte> request) => BinaryPrimitives.ReadUInt64LittleEndian(request[16..]);

    private void Mount()
    {
        string options = $"fd={(int)_device.DangerousGetHandle()},rootmode=40000,user_id=0,group_id=0";
        if (mount("vhost-fuse", _folder, "fuse", 0, options) != 0)
            throw new InvalidOperationException($"mount: {Marshal.GetLastPInvokeError()}");
        new Thread(Serve) { IsBackground = true, Name = "file system" }.Start();
    }

    private void Serve()
    {
        byte[] request = new byte[MostData + 4096];
        try
        {
            while (Libc.Read(_device, request) is int length and >= InHeader)
            {
                if (OperationOf(request) is not (Forget or Interrupt or ForgetMany))
                    Handle(request.AsSpan(0, length));
            }
        }
        catch (ObjectDisposedException)
        {
            // The test is over.
        }
    }

    /// <returns>Bytes of the answer; negative: this operation does not exist here.</returns>
    private int Fill(uint operation, ulong node, Span<byte> answer)
    {
        switch (operation)
        {
            case Initialize:
                BinaryPrimitives.WriteUInt32LittleEndian(answer, 7);
                BinaryPrimitives.WriteUInt32LittleEndian(answer[4..], 31);
                BinaryPrimitives.WriteUInt32LittleEndian(answer[20..], MostData);
                return 64;
            case Lookup:
                BinaryPrimitives.WriteUInt64LittleEndian(answer, 2);
                FillAttributes(2, answer[40..]);
                return 40 + Attributes;
            case GetAttributes:
                FillAttributes(node, answer[16..]);
                return 16 + Attributes;
            case Open:
                BinaryPrimitives.WriteUInt32LittleEndian(answer[8..], _direct ? OpenDirect : 0);
                return 16;
            case StatFs:
                return 80;
            case Flush or Release:
                return 0;
            default:
                return NotImplemented;
        }
    }

    private void FillAttributes(ulong node, Span<byte> attributes)
    {
        const ulong Root = 1;
        BinaryPrimitives.WriteUInt64LittleEndian(attributes, node);
        BinaryPrimitives.WriteUInt64LittleEndian(attributes[8..], node == Root ? 0 : _fileSize);
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
