using Vhost.Tool;

return await ToolMain.RunAsync(args, ToolMain.CalledBy());
