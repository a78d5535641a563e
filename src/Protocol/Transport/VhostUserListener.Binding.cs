using System.Globalization;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

public sealed partial class VhostUserListener
{
    /// <summary>Makes a socket file and listens on it.</summary>
    /// <param name="path">At most 107 bytes. A socket file left over from a process that ended is replaced; one that somebody listens on is not.</param>
    /// <param name="options">Permissions, group, backlog.</param>
    /// <returns>The listener; disposing it removes the file.</returns>
    /// <exception cref="VhostUserException">The path is in use or cannot be made; the message names the path and says what to do.</exception>
    /// <exception cref="ArgumentException">The path is empty or too long, or the group does not exist.</exception>
    public static VhostUserListener Listen(string path, VhostUserListenOptions? options = null)
    {
        SupportedHost.Require();
        byte[] address = UnixSocketAddress.Encode(path, nameof(path));
        options ??= new VhostUserListenOptions();
        uint? group = options.Group is null ? null : FindGroup(options.Group);

        // A socket that is bound and does not listen yet looks like a stale one: starters must not look at each other's work.
        using FolderLock? alone = FolderLock.TryTake(FolderOf(path));
        SafeFileHandle socket = Libc.UnixSocket();
        try
        {
            Bind(socket, path, address, options);
        }
        catch
        {
            socket.Dispose();
            throw;
        }

        return Open(socket, path, options, group);
    }

    /// <summary>Nobody can connect before <c>listen</c>, so permissions are in force before the first peer arrives.</summary>
    private static VhostUserListener Open(SafeFileHandle socket, string path, VhostUserListenOptions options, uint? group)
    {
        try
        {
            int errno = Libc.Status(path, out FileStatus file);
            if (errno != 0) throw new VhostUserException($"The new socket file '{path}' has disappeared.", new LinuxException("statx", errno));
            if (group is { } id) Check(Libc.ChangeGroup(path, id), "lchown", $"Cannot give '{path}' to group '{options.Group}'; a user can only choose groups it is in.");
            if (options.Mode is { } mode) Check(Libc.ChangeMode(path, mode), "chmod", $"Cannot set the permissions of '{path}'.");
            Check(Libc.Listen(socket, options.Backlog), "listen", $"Cannot listen on '{path}'.");
            return new VhostUserListener(socket, path, file, options.Connection);
        }
        catch
        {
            _ = Libc.Unlink(path);
            socket.Dispose();
            throw;
        }
    }

    private static void Bind(SafeFileHandle socket, string path, byte[] address, VhostUserListenOptions options)
    {
        int errno = Libc.Bind(socket, address);
        if (errno == Libc.EADDRINUSE)
        {
            RemoveStale(path, address, options);
            errno = Libc.Bind(socket, address);
        }

        string folder = FolderOf(path);
        Check(errno, "bind", errno switch
        {
            Libc.ENOENT or Libc.ENOTDIR => $"Cannot listen on '{path}': the folder '{folder}' does not exist. Create it or choose another path.",
            Libc.EACCES => $"Cannot listen on '{path}': no permission to create a file in '{folder}'. Choose another path.",
            Libc.EADDRINUSE => $"Cannot listen on '{path}': somebody else took the path at the same moment. Choose another path.",
            _ => $"Cannot listen on '{path}'.",
        });
    }

    private static void RemoveStale(string path, byte[] address, VhostUserListenOptions options)
    {
        int errno = Libc.Status(path, out FileStatus before);
        if (errno == Libc.ENOENT) return;
        Check(errno, "statx", $"Cannot look at '{path}'.");
        if (before.Type != Libc.S_IFSOCK)
            throw new VhostUserException($"Cannot listen on '{path}': it exists and is not a socket. Remove it or choose another path.");

        if (!options.ReplaceStale || !IsStale(address))
        {
            string state = options.ReplaceStale ? "another process listens on it" : "the file exists";
            throw new VhostUserException($"Cannot listen on '{path}': {state}. End that process, remove the file or choose another path.");
        }

        // Somebody who does not lock the folder may have replaced the file since it was looked at; its socket must not be removed.
        if (Libc.Status(path, out FileStatus now) != 0 || !now.IsSameFile(before)) return;
        Check(Libc.Unlink(path), "unlink", $"Cannot remove the stale socket file '{path}'. Remove it or choose another path.");
        ProtocolLog.StaleSocketReplaced(ContainedLogger.AroundOptional(options.Connection.Logger), path);
    }

    private static bool IsStale(byte[] address)
    {
        using SafeFileHandle probe = Libc.UnixSocket();
        return Libc.Connect(probe, address) == Libc.ECONNREFUSED;
    }

    private static string FolderOf(string path) => System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path)) ?? "/";

    /// <summary>A group by name or number; a number need not belong to a group.</summary>
    internal static bool TryFindGroup(string group, out uint id) =>
        uint.TryParse(group, NumberStyles.None, CultureInfo.InvariantCulture, out id) || Libc.TryGetGroup(group, out id);

    private static uint FindGroup(string group) => TryFindGroup(group, out uint id)
        ? id
        : throw new ArgumentException($"There is no group '{group}' on this system. Name an existing group or give its number.", nameof(group));

    private static void Check(int errno, string operation, string message)
    {
        if (errno != 0) throw new VhostUserException(message, new LinuxException(operation, errno));
    }
}
