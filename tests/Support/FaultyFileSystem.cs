using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Tests.Support;

/// <summary>What a <see cref="FaultyFileSystem"/> is asked to do with its file.</summary>
public enum FileOperation
{
    Read = 15,
    Write = 16,
    Sync = 20,
}

/// <summary>A file system whose file moves fewer bytes than it is asked for, fails, or takes its time, as a test wants it. Needs root.</summary>
public sealed class FaultyFileSystem : UserFileSystem
{
    private readonly Lock _gate = new();
    private readonly List<byte[]> _kept = [];
    private readonly byte[] _content;
    private bool _keeps;

    private FaultyFileSystem(SafeFileHandle device, byte[] content)
        : base(device, (ulong)content.Length, direct: true) => _content = content;

    /// <summary>Asked before anything is done: the error number to fail with, or 0.</summary>
    public Func<FileOperation, long, int>? Fault { get; set; }

    /// <summary>A transfer moves no more than this.</summary>
    public int MostBytes { get; set; } = int.MaxValue;

    /// <summary>Requests that wait for <see cref="AnswerKept"/>.</summary>
    public int Kept
    {
        get
        {
            lock (_gate)
                return _kept.Count;
        }
    }

    /// <summary>Null, and why, where this process may not mount one.</summary>
    /// <param name="content">What the file holds, and what is written to.</param>
    /// <param name="reason">Why not.</param>
    public static FaultyFileSystem? TryMount(byte[] content, out string reason) =>
        TryMount(device => new FaultyFileSystem(device, content), out reason);

    /// <summary>From now on reads, writes and flushes are not answered.</summary>
    public void Keep()
    {
        lock (_gate)
            _keeps = true;
    }

    /// <summary>Answers what was kept, the last first, and keeps nothing more.</summary>
    public void AnswerKept()
    {
        lock (_gate)
        {
            _keeps = false;
            for (int i = _kept.Count - 1; i >= 0; i--)
                Do(_kept[i]);
            _kept.Clear();
        }
    }

    public override void Dispose()
    {
        AnswerKept();
        base.Dispose();
    }

    private protected override void Handle(ReadOnlySpan<byte> request)
    {
        if ((FileOperation)OperationOf(request) is not (FileOperation.Read or FileOperation.Write or FileOperation.Sync))
        {
            base.Handle(request);
            return;
        }

        lock (_gate)
        {
            if (_keeps)
                _kept.Add(request.ToArray());
            else
                Do(request);
        }
    }

    private void Do(ReadOnlySpan<byte> request)
    {
        FileOperation operation = (FileOperation)OperationOf(request);
        ReadOnlySpan<byte> body = BodyOf(request);
        long offset = operation == FileOperation.Sync ? 0 : BinaryPrimitives.ReadInt64LittleEndian(body[8..]);
        int error = Fault?.Invoke(operation, offset) ?? 0;
        if (error != 0 || operation == FileOperation.Sync)
        {
            Answer(UniqueOf(request), -error, []);
            return;
        }

        int size = (int)Math.Min(BinaryPrimitives.ReadUInt32LittleEndian(body[16..]), (uint)MostBytes);
        size = (int)Math.Clamp(_content.Length - offset, 0, size);
        Span<byte> place = _content.AsSpan((int)Math.Min(offset, _content.Length), size);
        if (operation == FileOperation.Read)
        {
            Answer(UniqueOf(request), 0, place);
            return;
        }

        const int WriteHeader = 40;
        body.Slice(WriteHeader, size).CopyTo(place);
        Span<byte> written = stackalloc byte[8];
        written.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(written, size);
        Answer(UniqueOf(request), 0, written);
    }
}
