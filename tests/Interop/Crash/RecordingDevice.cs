using System.Buffers.Binary;
using Vhost.Backend;
using Vhost.Protocol;

namespace Vhost.Interop.Tests;

/// <summary>
/// Executes requests out of order and in uneven batches, from a seed, and appends each execution to a file before it gives the request back. A request is eight bytes that name
/// it, and eight bytes for the answer.
/// </summary>
/// <param name="record">The file of <see cref="Execution"/>s.</param>
/// <param name="life">Which process this is; also the seed.</param>
/// <param name="step">Called where the process may end.</param>
internal sealed class RecordingDevice(string record, int life, Action step) : IVhostUserDevice, IDisposable
{
    internal const int Depth = 64;

    // One write for each, straight to the kernel: what was written outlives the process. Opened when the process before is gone: its end is where this one begins.
    private readonly Lazy<FileStream> _record = new(() => new FileStream(record, FileMode.Append, FileAccess.Write, FileShare.Read, bufferSize: 0));
    private readonly Random _random = new(life);
    private readonly List<DetachedChain> _taken = [];
    private readonly byte[] _bytes = new byte[8];

    public int QueueCount => 1;

    public VirtioFeatures Features => VirtioFeatures.Version1 | VirtioFeatures.RingPacked | VirtioFeatures.EventIndex;

    /// <summary>What the answer to a request must be.</summary>
    internal static ulong AnswerTo(ulong token) => ~token * 3;

    public void Process(DeviceVirtqueue queue)
    {
        while (true)
        {
            while (_taken.Count < Depth && queue.TryPop(out DescriptorChain chain))
            {
                _taken.Add(chain.Detach());
                step();
            }

            if (_taken.Count == 0)
                return;
            ExecuteOne();
            if (_random.Next(8) == 0)
                queue.Flush();
        }
    }

    public void Dispose()
    {
        if (_record.IsValueCreated)
            _record.Value.Dispose();
    }

    private void ExecuteOne()
    {
        int which = _random.Next(_taken.Count);
        DetachedChain chain = _taken[which];
        _taken.RemoveAt(which);
        chain.Readable.CopyTo(_bytes);
        ulong token = BinaryPrimitives.ReadUInt64LittleEndian(_bytes);
        new Execution(token, life).AppendTo(_record.Value);
        step();
        BinaryPrimitives.WriteUInt64LittleEndian(_bytes, AnswerTo(token));
        chain.Writable.CopyFrom(_bytes);
        chain.Complete((uint)_bytes.Length);
        step();
    }
}
