using System.Diagnostics.CodeAnalysis;
using System.IO.Pipelines;
using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>One transfer of a device's state, which runs beside the session that has begun it and is over when the device has returned and the descriptor is closed.</summary>
[SuppressMessage("Design", "CA1001", Justification = "What it holds ends with the transfer.")]
internal sealed class DeviceStateTransfer
{
    private readonly IMigratableDevice _device;
    private readonly DescriptorStream _stream;
    private readonly ILogger _logger;
    private readonly CancellationTokenSource _cancel = new();

    private DeviceStateTransfer(IMigratableDevice device, DescriptorStream stream, ILogger logger)
    {
        (_device, _stream, _logger, Saves) = (device, stream, logger, stream.CanWrite);
        Outcome = Task.Run(RunAsync);
    }

    /// <summary>How it ended: null when all of the state was transferred, else why not. Never faults.</summary>
    internal Task<string?> Outcome { get; }

    /// <summary>Whether the device is asked for its state, which does not change it.</summary>
    internal bool Saves { get; }

    internal bool IsUnderWay => !Outcome.IsCompleted;

    /// <summary>Begins a transfer, to a stream that can be written or from one that can be read. Takes the stream over.</summary>
    internal static DeviceStateTransfer Begin(IMigratableDevice device, DescriptorStream stream, ILogger logger) => new(device, stream, logger);

    /// <summary>Asks the device to give it up. <see cref="Outcome"/> tells when it has.</summary>
    internal Task CancelAsync() => _cancel.CancelAsync();

    private async Task<string?> RunAsync()
    {
        await using (_stream.ConfigureAwait(false))
        {
            try
            {
                await (Saves ? SaveAsync() : LoadAsync()).ConfigureAwait(false);
                return null;
            }
            catch (OperationCanceledException) when (_cancel.IsCancellationRequested)
            {
                return $"it was given up after {_stream.Moved} bytes";
            }
            catch (Exception e) when (e is IOException or InvalidDataException)
            {
                return e.Message;
            }
            catch (Exception e)
            {
                BackendLog.DeviceFailed(_logger, e);
                return $"the device failed with {e.GetType().Name}: {e.Message}";
            }
        }
    }

    private async Task SaveAsync()
    {
        PipeWriter writer = PipeWriter.Create(_stream, new StreamPipeWriterOptions(leaveOpen: true));
        try
        {
            await _device.SaveStateAsync(writer, _cancel.Token).ConfigureAwait(false);
            await writer.FlushAsync(_cancel.Token).ConfigureAwait(false);
            await writer.CompleteAsync().ConfigureAwait(false);
        }
        catch (Exception e)
        {
            await writer.CompleteAsync(e).ConfigureAwait(false);
            throw;
        }
    }

    private async Task LoadAsync()
    {
        PipeReader reader = PipeReader.Create(_stream, new StreamPipeReaderOptions(leaveOpen: true));
        try
        {
            await _device.LoadStateAsync(reader, _cancel.Token).ConfigureAwait(false);
            ReadResult rest = await reader.ReadAsync(_cancel.Token).ConfigureAwait(false);
            if (!rest.Buffer.IsEmpty)
                throw new InvalidDataException($"the device has not read all of the state: of {_stream.Moved} bytes that came, {rest.Buffer.Length} or more are left");
        }
        finally
        {
            await reader.CompleteAsync().ConfigureAwait(false);
        }
    }
}
