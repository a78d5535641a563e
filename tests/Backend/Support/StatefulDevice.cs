using System.Buffers;
using System.IO.Pipelines;
using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>An echo with a state of its own, which is some bytes.</summary>
internal sealed class StatefulDevice : IMigratableDevice
{
    private readonly EchoDevice _echo = new();

    public byte[] State { get; set; } = [1, 2, 3];

    /// <summary>Called before the state is written.</summary>
    public Func<PipeWriter, CancellationToken, ValueTask>? BeforeSaving { get; set; }

    /// <summary>Called when all of the state has come.</summary>
    public Func<CancellationToken, ValueTask>? BeforeTaking { get; set; }

    /// <summary>Returns without a look at what comes.</summary>
    public bool ReadsNothing { get; set; }

    public int Resets => _echo.Resets;

    public int QueueCount => 2;

    public VirtioFeatures Features => _echo.Features;

    public int ConfigLength => _echo.ConfigLength;

    public bool TryReadConfig(uint offset, Span<byte> destination) => _echo.TryReadConfig(offset, destination);

    public bool TryWriteConfig(uint offset, ReadOnlySpan<byte> source) => _echo.TryWriteConfig(offset, source);

    public async ValueTask SaveStateAsync(PipeWriter destination, CancellationToken cancellationToken)
    {
        if (BeforeSaving is { } before)
            await before(destination, cancellationToken);
        await destination.WriteAsync(State, cancellationToken);
    }

    public async ValueTask LoadStateAsync(PipeReader source, CancellationToken cancellationToken)
    {
        if (ReadsNothing)
            return;
        ReadResult read = await source.ReadAsync(cancellationToken);
        while (!read.IsCompleted)
        {
            source.AdvanceTo(read.Buffer.Start, read.Buffer.End);
            read = await source.ReadAsync(cancellationToken);
        }

        if (BeforeTaking is { } before)
            await before(cancellationToken);
        State = read.Buffer.ToArray();
        source.AdvanceTo(read.Buffer.End);
    }

    public void Process(DeviceVirtqueue queue) => _echo.Process(queue);

    public void Reset() => _echo.Reset();
}
