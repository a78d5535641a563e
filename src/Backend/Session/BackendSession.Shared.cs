using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Backend;

// What a device shares besides its queues: objects and memory regions.
internal sealed partial class BackendSession
{
    /// <summary>
    /// QEMU sends no identifier; that is answered like an object that there is not, and so is every object while the state of the device is transferred. The reply repeats the request, as libvhost-user's does.
    /// </summary>
    private Answer GetSharedObject(VhostUserMessage message)
    {
        Answer none = Answer.Reply(message.Payload.ToArray());
        if (IsTransferring || _device is not ISharedObjectDevice device || !VhostUserSharedObject.TryRead(message.Payload, out VhostUserSharedObject said))
            return none;
        SafeFileHandle? found = null;
        if (!TryCallDevice(() => found = device.OpenSharedObject(said.Id), out string failure))
            LogRefused($"VHOST_USER_GET_SHARED_OBJECT {said.Id}{failure}");
        return none with { Descriptor = found };
    }

    private Answer GetSharedMemoryConfig()
    {
        byte[] reply = new byte[VhostUserShmemConfig.Size];
        VhostUserShmemConfig.Write(_traits.SharedMemorySizes, reply);
        return Answer.Reply(reply);
    }
}
