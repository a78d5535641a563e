using System.IO.Pipelines;

namespace Vhost.Backend;

/// <summary>
/// A device with state of its own that has to move with its guest (DEVICE_STATE is offered): what the driver has told it, or it has begun, and what stands neither in the rings nor in configuration space.
/// </summary>
/// <remarks>
/// <para>Both methods are called while no queue of the device is started, and none is started until they have returned. The device is suspended then: it neither writes to guest memory nor changes its
/// configuration. They run on the thread pool, beside the session, which goes on answering messages; of the device's other members it calls <see cref="IVhostUserDevice.TryReadConfig"/> meanwhile, and
/// <see cref="IVhostUserDevice.Reset"/> only after the call has returned. Messages that would call others are refused; no shared object is found.</para>
/// <para>An exception is the answer that the transfer failed (CHECK_DEVICE_STATE); its message is logged.</para>
/// <para>The format is the device's own. It begins with a version, so that devices of different age can tell each other apart: the two sides of a migration need not be the same program.</para>
/// </remarks>
public interface IMigratableDevice : IVhostUserDevice
{
    /// <summary>Writes the state. The device goes on afterwards as if nothing had happened if the migration is given up and its queues are started again.</summary>
    /// <param name="destination">Where to: flush as often as is good; the library flushes the rest and completes it. A front-end that does not read makes a flush wait.</param>
    /// <param name="cancellationToken">Cancelled when the front-end goes, resets the device or begins another transfer.</param>
    /// <returns>Completes when everything is written.</returns>
    ValueTask SaveStateAsync(PipeWriter destination, CancellationToken cancellationToken);

    /// <summary>
    /// Reads the state that another device has saved. The bytes come from a peer and may be anything: an <see cref="InvalidDataException"/> says what is wrong with them, and the device is then as it was before.
    /// The features that the driver has acknowledged may be told before or after (<see cref="IVhostUserDevice.Configure"/>).
    /// </summary>
    /// <param name="source">Where from: to be read to its end, at most <see cref="VhostUserBackendOptions.MaxDeviceStateSize"/> bytes; the library completes it. What is left unread is an error.</param>
    /// <param name="cancellationToken">Cancelled when the front-end goes, resets the device or begins another transfer.</param>
    /// <returns>Completes when the device has taken the state over, and its queues may start.</returns>
    ValueTask LoadStateAsync(PipeReader source, CancellationToken cancellationToken);
}
