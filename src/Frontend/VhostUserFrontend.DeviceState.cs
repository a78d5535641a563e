using System.Globalization;
using System.IO.Pipelines;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

// DEVICE_STATE: what the device itself knows, on its way from one back-end to another. The bytes go over a pipe beside the channel, on which other messages may go meanwhile.
public sealed partial class VhostUserFrontend
{
    private int _transferring;

    /// <summary>
    /// SET_DEVICE_STATE_FD (save) and CHECK_DEVICE_STATE: reads the state of the device that neither the rings nor its configuration space show, so that another back-end can go on with it. No ring may
    /// run. The device is not changed: when the migration is given up, its rings can be started again.
    /// </summary>
    /// <param name="destination">Where the bytes go; it is flushed, and neither completed nor cancelled. What was written is worth nothing when this throws.</param>
    /// <param name="cancellationToken">Gives up; the session goes on, unless it is in the middle of a message.</param>
    /// <returns>How many bytes there were.</returns>
    /// <exception cref="VhostUserFeatureException">DEVICE_STATE is not negotiated. Ask for it with <see cref="VhostUserFrontendOptions.WantedProtocolFeatures"/>.</exception>
    /// <exception cref="VhostUserRejectedException">The back-end refused, or says that it could not save its state.</exception>
    /// <exception cref="VhostUserException">The state has more than <see cref="VhostUserFrontendOptions.MaxDeviceStateSize"/> bytes, or stands still for <see cref="VhostUserFrontendOptions.DeviceStateTimeout"/>.</exception>
    /// <exception cref="InvalidOperationException">A ring is started, or another transfer is under way.</exception>
    public async ValueTask<long> SaveDeviceStateAsync(PipeWriter destination, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(destination);
        return await TransferAsync(VhostUserTransferDirection.Save, (stream, stop) => ReceiveStateAsync(stream, destination, stop), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The same, to a stream.</summary>
    /// <param name="destination">Where the bytes go; it is flushed and stays open.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>How many bytes there were.</returns>
    /// <inheritdoc cref="SaveDeviceStateAsync(PipeWriter, CancellationToken)" path="/exception"/>
    public async ValueTask<long> SaveDeviceStateAsync(Stream destination, CancellationToken cancellationToken = default)
    {
        PipeWriter writer = PipeWriter.Create(destination, new StreamPipeWriterOptions(leaveOpen: true));
        long bytes = await SaveDeviceStateAsync(writer, cancellationToken).ConfigureAwait(false);
        await writer.CompleteAsync().ConfigureAwait(false);
        return bytes;
    }

    /// <summary>
    /// SET_DEVICE_STATE_FD (load) and CHECK_DEVICE_STATE: gives the device the state that another one has saved, before its rings start. When it throws, the device may have taken anything: it is reset
    /// (<see cref="ResetDeviceAsync"/>), or another state is loaded, before its rings start.
    /// </summary>
    /// <param name="source">Where the bytes come from; read to its end and not completed.</param>
    /// <param name="cancellationToken">Gives up; the session goes on, unless it is in the middle of a message.</param>
    /// <returns>How many bytes there were.</returns>
    /// <exception cref="VhostUserFeatureException">DEVICE_STATE is not negotiated.</exception>
    /// <exception cref="VhostUserRejectedException">The back-end refused, or says that it cannot do with the state.</exception>
    /// <exception cref="VhostUserException">The state has more than <see cref="VhostUserFrontendOptions.MaxDeviceStateSize"/> bytes, or stands still for <see cref="VhostUserFrontendOptions.DeviceStateTimeout"/>.</exception>
    /// <exception cref="InvalidOperationException">A ring is started, or another transfer is under way.</exception>
    public async ValueTask<long> LoadDeviceStateAsync(PipeReader source, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        return await TransferAsync(VhostUserTransferDirection.Load, (stream, stop) => SendStateAsync(stream, source, stop), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The same, from a stream.</summary>
    /// <param name="source">Where the bytes come from; read to its end, and stays open.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>How many bytes there were.</returns>
    /// <inheritdoc cref="LoadDeviceStateAsync(PipeReader, CancellationToken)" path="/exception"/>
    public async ValueTask<long> LoadDeviceStateAsync(Stream source, CancellationToken cancellationToken = default)
    {
        PipeReader reader = PipeReader.Create(source, new StreamPipeReaderOptions(leaveOpen: true));
        try
        {
            return await LoadDeviceStateAsync(reader, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            await reader.CompleteAsync().ConfigureAwait(false);
        }
    }

    private static async Task ReceiveStateAsync(DescriptorStream stream, PipeWriter destination, CancellationToken cancellationToken)
    {
        const int Piece = 64 << 10;
        while (await stream.ReadAsync(destination.GetMemory(Piece), cancellationToken).ConfigureAwait(false) is not 0 and var count)
        {
            destination.Advance(count);
            if ((await destination.FlushAsync(cancellationToken).ConfigureAwait(false)).IsCompleted)
                throw new InvalidOperationException("Nobody reads what is saved any more.");
        }
    }

    private static async Task SendStateAsync(DescriptorStream stream, PipeReader source, CancellationToken cancellationToken)
    {
        bool isLast = false;
        while (!isLast)
        {
            ReadResult read = await source.ReadAsync(cancellationToken).ConfigureAwait(false);
            try
            {
                foreach (ReadOnlyMemory<byte> piece in read.Buffer)
                    await stream.WriteAsync(piece, cancellationToken).ConfigureAwait(false);
            }
            finally
            {
                source.AdvanceTo(read.Buffer.End);
            }

            isLast = read.IsCompleted;
        }
    }

    /// <summary>The gate is passed for each message alone: others may be sent while the bytes travel.</summary>
    private async Task<long> TransferAsync(
        VhostUserTransferDirection direction, Func<DescriptorStream, CancellationToken, Task> transfer, CancellationToken cancellationToken)
    {
        Use(VhostUserProtocolFeatures.DeviceState, VhostUserRequest.SetDeviceStateFd);
        if (Interlocked.CompareExchange(ref _transferring, 1, 0) != 0)
            throw new InvalidOperationException("The state of the device is being transferred already.");
        try
        {
            using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _ending.Token);
            DescriptorStream stream = await BeginTransferAsync(direction, cancellationToken).ConfigureAwait(false);
            bool isCut = !await TryTransferAsync(stream, transfer, either.Token).ConfigureAwait(false);
            await CheckTransferAsync(isCut, cancellationToken).ConfigureAwait(false);
            return stream.Moved;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new VhostUserDisconnectedException($"{_peer}: the session has ended while the state of the device was transferred.", DisconnectReason);
        }
        finally
        {
            Volatile.Write(ref _transferring, 0);
        }
    }

    /// <returns>False when the back-end has closed its end before all was said; why, it says when it is asked.</returns>
    private static async Task<bool> TryTransferAsync(DescriptorStream stream, Func<DescriptorStream, CancellationToken, Task> transfer, CancellationToken cancellationToken)
    {
        await using (stream.ConfigureAwait(false))
        {
            try
            {
                await transfer(stream, cancellationToken).ConfigureAwait(false);
                return true;
            }
            catch (LinuxException e) when (e.Errno is Libc.EPIPE or Libc.ECONNRESET)
            {
                return false;
            }
        }
    }

    private async Task<DescriptorStream> BeginTransferAsync(VhostUserTransferDirection direction, CancellationToken cancellationToken)
    {
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        if (RunningRings().FirstOrDefault() is { } running)
        {
            throw new InvalidOperationException(string.Create(
                CultureInfo.InvariantCulture, $"Ring {running.Index} is started; the state of a device is transferred while none is."));
        }

        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        bool saves = direction == VhostUserTransferDirection.Save;
        (SafeFileHandle ours, SafeFileHandle theirs) = saves ? (reader, writer) : (writer, reader);
        try
        {
            DeviceStateTransfer answer = await Requests.SetDeviceStateFdAsync(new(direction, VhostUserTransferPhase.Stopped), theirs, cancellationToken).ConfigureAwait(false);
            ours = Choose(answer, ours);
            DescriptorStreamLimits limits = new(
                _options.MaxDeviceStateSize, nameof(_options.MaxDeviceStateSize), _options.DeviceStateTimeout, nameof(_options.DeviceStateTimeout), _options.TimeProvider);
            return DescriptorStream.Open(ours, writes: !saves, limits);
        }
        catch (ArgumentException e)
        {
            throw Broken(VhostUserViolation.BadDescriptor, $"the descriptor of the back-end cannot carry a state: {e.Message}");
        }
        catch
        {
            ours.Dispose();
            throw;
        }
        finally
        {
            theirs.Dispose(); // the last one on this side: the end of what the back-end writes is seen, and it sees that we are gone
        }
    }

    /// <summary>Our end of the pipe that we made, or the descriptor of the back-end in its place.</summary>
    private static SafeFileHandle Choose(DeviceStateTransfer answer, SafeFileHandle ours)
    {
        SafeFileHandle? descriptor = answer.Descriptor;
        if (answer.Reply.Error != 0)
        {
            descriptor?.Dispose();
            throw new VhostUserRejectedException($"VHOST_USER_SET_DEVICE_STATE_FD: the back-end answered with error {answer.Reply.Error}.", answer.Reply.Raw)
            {
                RequestCode = (uint)VhostUserRequest.SetDeviceStateFd,
            };
        }

        if (answer.Reply.NoDescriptor)
        {
            descriptor?.Dispose();
            return ours;
        }

        if (descriptor is null)
            throw Broken(VhostUserViolation.WrongDescriptorCount, $"0x{answer.Reply.Raw:x} says that a descriptor comes with it (bit 8 is clear), and none came.");
        ours.Dispose();
        return descriptor;
    }

    private async Task CheckTransferAsync(bool isCut, CancellationToken cancellationToken)
    {
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        ulong outcome = await Requests.CheckDeviceStateAsync(cancellationToken).ConfigureAwait(false);
        if (outcome != 0)
        {
            throw new VhostUserRejectedException($"VHOST_USER_CHECK_DEVICE_STATE: the back-end answered with {outcome}; 0 means that all of the state was transferred.", outcome)
            {
                RequestCode = (uint)VhostUserRequest.CheckDeviceState,
            };
        }

        if (isCut)
            throw Broken(VhostUserViolation.WrongState, "the back-end has closed its end before it had all of the state, and says that it has it.");
    }

    private void RequireNoTransfer()
    {
        if (Volatile.Read(ref _transferring) != 0)
            throw new InvalidOperationException("The state of the device is being transferred; its rings start afterwards.");
    }

    private static VhostUserProtocolException Broken(VhostUserViolation violation, string what) =>
        new(violation, $"VHOST_USER_SET_DEVICE_STATE_FD: {what}") { RequestCode = (uint)VhostUserRequest.SetDeviceStateFd };
}
