"""Reading clips: video files, folders of pictures, frames."""
